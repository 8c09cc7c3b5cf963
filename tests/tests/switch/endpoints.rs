//! The real quinn and TLS on the switch, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use quicraft_tests::bare_quinn;
use quicraft_tests::switch::{Conditions, Counters, Switch, address, host, megabits};
use quinn::{Connection, ConnectionError, TransportConfig, VarInt};
use tokio::time::{Instant, timeout};

const MS: Duration = Duration::from_millis(1);

/// Windows that never limit, an idle timeout of 5 s, and a first round-trip guess of 50 ms.
fn transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u32(64 << 20))
        .send_window(64 << 20)
        .initial_rtt(50 * MS)
        .max_idle_timeout(Some(Duration::from_secs(5).try_into().unwrap()));
    Arc::new(transport)
}

async fn connected(switch: &Switch) -> (Connection, Connection) {
    let one = bare_quinn::endpoint(switch, address(1), &transport());
    let two = bare_quinn::endpoint(switch, address(2), &transport());
    let (accepted, dialled) = bare_quinn::connect(&one, &two).await;
    assert_eq!(dialled.remote_address(), address(2));
    assert_eq!(accepted.remote_address(), address(1));
    (dialled, accepted)
}

/// Answers every stream with its own bytes until the connection ends.
fn echo(connection: Connection) {
    tokio::spawn(async move {
        while let Ok((mut send, mut receive)) = connection.accept_bi().await {
            // A caller that gave up resets its stream; the next one is served all the same.
            if let Ok(bytes) = receive.read_to_end(1 << 20).await
                && send.write_all(&bytes).await.is_ok()
            {
                send.finish().expect("the stream is open");
            }
        }
    });
}

/// One round trip of a stream.
async fn call(connection: &Connection, bytes: &[u8]) -> Vec<u8> {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(bytes).await.unwrap();
    send.finish().unwrap();
    receive.read_to_end(1 << 20).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_call_takes_exactly_one_round_trip() {
    let switch = Switch::new(1);
    switch.set_default(Conditions::delayed(50 * MS));
    let start = Instant::now();
    let (dialled, accepted) = connected(&switch).await;
    // The dialler is connected after one round trip; the acceptor half a round trip later.
    assert_eq!(start.elapsed(), 150 * MS);
    echo(accepted);
    // Let the acknowledgements of the handshake pass, so that they are not in the way.
    tokio::time::sleep(Duration::from_secs(1)).await;

    for _ in 0..10 {
        let start = Instant::now();
        assert_eq!(call(&dialled, b"hello").await, b"hello");
        assert_eq!(start.elapsed(), 100 * MS);
    }
    let rtt = dialled.rtt();
    assert!((100 * MS..105 * MS).contains(&rtt), "{rtt:?}");
}

#[tokio::test(start_paused = true)]
async fn ten_megabytes_at_100_megabits_take_0_8_seconds() {
    let switch = Switch::new(1);
    switch.set_default(Conditions {
        bandwidth: Some(megabits(100)),
        ..Conditions::delayed(5 * MS)
    });
    let (dialled, accepted) = connected(&switch).await;
    let start = Instant::now();
    let sending = async {
        let mut send = dialled.open_uni().await.unwrap();
        send.write_all(&vec![7; 10_000_000]).await.unwrap();
        send.finish().unwrap();
        send
    };
    let receiving = async {
        let mut receive = accepted.accept_uni().await.unwrap();
        receive.read_to_end(10_000_000).await.unwrap()
    };
    let (_send, received) = tokio::join!(sending, receiving);
    assert_eq!(received.len(), 10_000_000);
    let took = start.elapsed();
    // 0.8 s of payload, 3 % of packet headers, the delay, and the start of CUBIC.
    assert!((800 * MS..1_000 * MS).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn bulk_passes_a_lossy_path_and_uses_segmented_sends() {
    let switch = Switch::new(9);
    switch.set_default(Conditions {
        loss: 0.02,
        reordering: 0.05,
        duplication: 0.02,
        jitter: 2 * MS,
        mtu: 1_472,
        ..Conditions::delayed(5 * MS)
    });
    let (dialled, accepted) = connected(&switch).await;
    echo(accepted);
    let bytes: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    assert_eq!(call(&dialled, &bytes).await, bytes);
    let total = switch.total();
    assert!(total.dropped.lost > 0 && total.reordered > 0 && total.duplicated > 0);
    let udp = dialled.stats().udp_tx;
    assert!(udp.ios < udp.datagrams, "segmented: {udp:?}");
}

#[tokio::test(start_paused = true)]
async fn a_short_partition_is_survived_and_a_long_one_ends_the_connection() {
    let switch = Switch::new(1);
    switch.set_default(Conditions::delayed(10 * MS));
    let (dialled, accepted) = connected(&switch).await;
    echo(accepted.clone());

    switch.partition(&[host(1)], &[host(2)]);
    let during = timeout(Duration::from_secs(3), call(&dialled, b"x")).await;
    assert!(during.is_err());
    switch.heal();
    assert_eq!(call(&dialled, b"y").await, b"y");

    // Let all acknowledgements pass: an end that still repeats a packet would wait anew with it
    // (RFC 9000, 10.1).
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    switch.block(host(1), host(2));
    assert_eq!(dialled.closed().await, ConnectionError::TimedOut);
    assert_eq!(accepted.closed().await, ConnectionError::TimedOut);
    // Five seconds of silence. Up to one of them was before the block, and an end that sends one
    // more packet into the silence starts anew with it.
    let took = start.elapsed();
    assert!((4_000 * MS..6_000 * MS).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_one_way_partition_ends_the_connection_at_both_ends() {
    let switch = Switch::new(1);
    switch.set_default(Conditions::delayed(10 * MS));
    let (dialled, accepted) = connected(&switch).await;
    switch.block_one_way(host(2), host(1));
    let mut send = dialled.open_uni().await.unwrap();
    send.write_all(b"heard, but never acknowledged")
        .await
        .unwrap();
    send.finish().unwrap();
    let mut heard = accepted.accept_uni().await.unwrap();
    assert_eq!(
        heard.read_to_end(100).await.unwrap(),
        b"heard, but never acknowledged"
    );
    assert_eq!(dialled.closed().await, ConnectionError::TimedOut);
    assert_eq!(accepted.closed().await, ConnectionError::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_datagrams() {
    async fn run(seed: u64) -> (Counters, Counters, Duration) {
        let switch = Switch::new(seed);
        switch.set_default(Conditions {
            loss: 0.05,
            jitter: 10 * MS,
            ..Conditions::delayed(20 * MS)
        });
        let start = Instant::now();
        let (dialled, accepted) = connected(&switch).await;
        echo(accepted);
        for size in [10, 1_000, 10_000, 100_000] {
            assert_eq!(call(&dialled, &vec![1; size]).await.len(), size);
        }
        (
            switch.counters(host(1), host(2)),
            switch.counters(host(2), host(1)),
            start.elapsed(),
        )
    }
    let first = run(5).await;
    assert!(first.0.dropped.lost > 0);
    assert_eq!(first, run(5).await);
    assert_ne!(first, run(6).await);
}

#[tokio::test(start_paused = true)]
async fn half_a_minute_of_virtual_time_is_no_time_at_all() {
    let real = std::time::Instant::now();
    let virtual_start = Instant::now();
    let switch = Switch::new(1);
    switch.set_default(Conditions::delayed(50 * MS));
    let (dialled, accepted) = connected(&switch).await;
    echo(accepted);
    while virtual_start.elapsed() < Duration::from_secs(38) {
        call(&dialled, b"tick").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // It takes some 20 ms; ten times as much is a loaded machine, a tenth of real time is a fault.
    assert!(real.elapsed() < Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn a_crashed_endpoint_restarts_on_its_address() {
    let switch = Switch::new(1);
    switch.set_default(Conditions::delayed(10 * MS));
    let one = bare_quinn::endpoint(&switch, address(1), &transport());
    let two = bare_quinn::endpoint(&switch, address(2), &transport());
    let (old, dialled) = bare_quinn::connect(&one, &two).await;

    assert!(switch.crash(address(2)));
    let reborn = bare_quinn::endpoint(&switch, address(2), &transport());
    // The old end says goodbye, but it is dead and nobody hears it.
    old.close(VarInt::from_u32(1), b"never heard");
    two.close(VarInt::from_u32(1), b"never heard");
    let (accepted, again) = bare_quinn::connect(&one, &reborn).await;
    echo(accepted);
    assert_eq!(call(&again, b"x").await, b"x");
    assert!(switch.total().dropped.detached > 0);
    assert!(!matches!(
        dialled.close_reason(),
        Some(ConnectionError::ApplicationClosed(_))
    ));
}

/// The switch does not need the paused clock: here it runs in real time, on several threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_passes_in_real_time_on_several_threads() {
    let switch = Switch::new(9);
    switch.set_default(Conditions {
        loss: 0.01,
        ..Conditions::delayed(MS)
    });
    let (dialled, accepted) = connected(&switch).await;
    echo(accepted);
    let bytes: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let answer = timeout(Duration::from_secs(60), call(&dialled, &bytes)).await;
    assert_eq!(answer.expect("the bulk passes"), bytes);
}
