//! Raw datagrams on the switch: each knob at its limit and one past it.

use std::future::poll_fn;
use std::io::{ErrorKind, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quicraft_tests::switch::{
    Conditions, Counters, MAX_DATAGRAM_BYTES, SocketOptions, Switch, SwitchSocket, address, host,
    megabits,
};
use quinn::AsyncUdpSocket;
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use tokio::time::{Instant, timeout};

const MS: Duration = Duration::from_millis(1);

fn bind(switch: &Switch, address: SocketAddr) -> Arc<SwitchSocket> {
    switch.bind(address, SocketOptions::default()).unwrap()
}

/// The sockets of nodes 1 and 2 on a network with these conditions.
fn pair(seed: u64, conditions: Conditions) -> (Switch, Arc<SwitchSocket>, Arc<SwitchSocket>) {
    let switch = Switch::new(seed);
    switch.set_default(conditions);
    let one = bind(&switch, address(1));
    let two = bind(&switch, address(2));
    (switch, one, two)
}

fn send(socket: &SwitchSocket, to: SocketAddr, contents: &[u8]) {
    send_segmented(socket, to, contents, None);
}

fn send_segmented(socket: &SwitchSocket, to: SocketAddr, contents: &[u8], size: Option<usize>) {
    let transmit = Transmit {
        destination: to,
        ecn: Some(EcnCodepoint::Ect0),
        contents,
        segment_size: size,
        src_ip: None,
    };
    socket.try_send(&transmit).unwrap();
}

/// The next datagram. A test that waits for one that never comes hangs under the paused clock, so
/// it is given an hour of virtual time.
async fn receive(socket: &SwitchSocket) -> (Vec<u8>, RecvMeta) {
    timeout(Duration::from_secs(3_600), receive_forever(socket))
        .await
        .expect("a datagram arrives")
}

async fn receive_forever(socket: &SwitchSocket) -> (Vec<u8>, RecvMeta) {
    let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
    let mut meta = [RecvMeta::default()];
    let count = poll_fn(|cx| {
        let mut buffers = [IoSliceMut::new(&mut buffer)];
        socket.poll_recv(cx, &mut buffers, &mut meta)
    })
    .await
    .unwrap();
    assert_eq!(count, 1);
    buffer.truncate(meta[0].len);
    (buffer, meta[0])
}

/// Everything that this socket has received once nothing is under way any more.
async fn receive_all(switch: &Switch, socket: &SwitchSocket) -> Vec<Vec<u8>> {
    let empty = async {
        while switch.under_way() > 0 {
            tokio::time::sleep(MS).await;
        }
    };
    timeout(Duration::from_secs(3_600), empty)
        .await
        .expect("everything arrives or is dropped");
    let mut all = Vec::new();
    while let Ok((datagram, _)) = timeout(Duration::ZERO, receive_forever(socket)).await {
        all.push(datagram);
    }
    all
}

/// What the counters promise at any time.
fn assert_conserved(switch: &Switch) {
    let Counters {
        sent,
        duplicated,
        delivered,
        dropped,
        ..
    } = switch.total();
    assert_eq!(
        sent + duplicated,
        delivered + dropped.total() + switch.under_way() as u64,
    );
}

#[tokio::test(start_paused = true)]
async fn a_datagram_arrives_after_the_delay_with_all_its_marks() {
    let (switch, one, two) = pair(1, Conditions::delayed(25 * MS));
    let start = Instant::now();
    send(&one, address(2), b"hello");
    let (datagram, meta) = receive(&two).await;
    assert_eq!(start.elapsed(), 25 * MS);
    assert_eq!(datagram, b"hello");
    assert_eq!(meta.addr, address(1));
    assert_eq!(meta.stride, 5);
    assert_eq!(meta.ecn, Some(EcnCodepoint::Ect0));
    assert_eq!(meta.dst_ip, Some(host(2)));
    assert_eq!(switch.counters(host(1), host(2)).delivered_bytes, 5);
    assert_eq!(switch.counters(host(2), host(1)), Counters::default());
}

#[tokio::test(start_paused = true)]
async fn each_direction_has_its_own_delay_and_changes_hold_at_once() {
    let (switch, one, two) = pair(1, Conditions::default());
    switch.set_path(host(1), host(2), Conditions::delayed(10 * MS));
    switch.set_path(host(2), host(1), Conditions::delayed(70 * MS));
    let start = Instant::now();
    send(&one, address(2), b"ping");
    receive(&two).await;
    assert_eq!(start.elapsed(), 10 * MS);
    send(&two, address(1), b"pong");
    receive(&one).await;
    assert_eq!(start.elapsed(), 80 * MS);

    // What was sent before the change keeps its time, and what is sent after overtakes it.
    send(&two, address(1), b"slow");
    switch.change_path(host(2), host(1), |conditions| conditions.delay = 5 * MS);
    send(&two, address(1), b"fast");
    assert_eq!(receive(&one).await.0, b"fast");
    assert_eq!(receive(&one).await.0, b"slow");
    assert_eq!(start.elapsed(), 150 * MS);
}

#[tokio::test(start_paused = true)]
async fn a_segmented_send_is_split_into_its_datagrams() {
    let (switch, one, two) = pair(1, Conditions::default());
    let batch: Vec<u8> = (0..=255).cycle().take(2_500).collect();
    send_segmented(&one, address(2), &batch, Some(1_000));
    let parts = receive_all(&switch, &two).await;
    assert_eq!(
        parts.iter().map(Vec::len).collect::<Vec<_>>(),
        [1_000, 1_000, 500]
    );
    assert_eq!(parts.concat(), batch);
    assert_eq!(switch.total().sent, 3);
    assert_eq!(one.max_transmit_segments(), 10);
    let plain = SocketOptions {
        max_transmit_segments: 1,
        ..SocketOptions::default()
    };
    let three = switch.bind(address(3), plain).unwrap();
    assert_eq!(three.max_transmit_segments(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_send_over_the_largest_datagram_fails_as_a_whole() {
    let (switch, one, two) = pair(1, Conditions::default());
    let most = vec![0; MAX_DATAGRAM_BYTES];
    send(&one, address(2), &most);
    assert_eq!(receive(&two).await.0.len(), MAX_DATAGRAM_BYTES);

    // Eight segments of 8,952 bytes are 71,616: the kernel refuses them all.
    send_segmented(&one, address(2), &vec![0; 8 * 8_952], Some(8_952));
    assert!(receive_all(&switch, &two).await.is_empty());
    assert_eq!(switch.total().dropped.too_large, 1);
    // Seven are 62,664, and pass.
    send_segmented(&one, address(2), &vec![0; 7 * 8_952], Some(8_952));
    assert_eq!(receive_all(&switch, &two).await.len(), 7);
    assert_conserved(&switch);
}

#[tokio::test(start_paused = true)]
async fn a_datagram_over_the_mtu_is_dropped() {
    let conditions = Conditions {
        mtu: 1_472,
        ..Conditions::default()
    };
    let (switch, one, two) = pair(1, conditions);
    send(&one, address(2), &[0; 1_472]);
    send(&one, address(2), &[0; 1_473]);
    assert_eq!(receive_all(&switch, &two).await.len(), 1);
    assert_eq!(switch.total().dropped.too_large, 1);
}

#[tokio::test(start_paused = true)]
async fn loss_hits_its_share() {
    let conditions = Conditions {
        loss: 0.1,
        ..Conditions::default()
    };
    let (switch, one, two) = pair(7, conditions);
    for _ in 0..10_000 {
        send(&one, address(2), b"x");
    }
    // The deviation of 10,000 draws at 0.1 is 30; this is five of them.
    let lost = switch.total().dropped.lost;
    assert!((850..=1_150).contains(&lost), "{lost} of 10,000 lost");
    assert_eq!(receive_all(&switch, &two).await.len() as u64, 10_000 - lost);
    assert_conserved(&switch);
}

#[tokio::test(start_paused = true)]
async fn loss_of_zero_and_of_one_are_exact() {
    let (switch, one, two) = pair(3, Conditions::default());
    for _ in 0..1_000 {
        send(&one, address(2), b"x");
    }
    assert_eq!(receive_all(&switch, &two).await.len(), 1_000);
    switch.change_path(host(1), host(2), |conditions| conditions.loss = 1.0);
    for _ in 0..1_000 {
        send(&one, address(2), b"x");
    }
    assert_eq!(switch.total().dropped.lost, 1_000);
}

#[tokio::test(start_paused = true)]
async fn jitter_spreads_arrivals_and_keeps_the_order() {
    let conditions = Conditions {
        jitter: 40 * MS,
        ..Conditions::delayed(100 * MS)
    };
    let (_switch, one, two) = pair(5, conditions);
    let start = Instant::now();
    let mut arrivals = Vec::new();
    for number in 0..50_u8 {
        send(&one, address(2), &[number]);
    }
    for number in 0..50_u8 {
        assert_eq!(receive(&two).await.0, [number]);
        arrivals.push(start.elapsed());
    }
    assert!(arrivals[0] >= 100 * MS && arrivals[0] < 140 * MS);
    assert!(arrivals[49] <= 141 * MS);
    assert!(arrivals[49] > arrivals[0], "{arrivals:?}");
}

#[tokio::test(start_paused = true)]
async fn reordering_lets_later_ones_overtake() {
    let conditions = Conditions {
        reordering: 0.2,
        reordering_delay: 3 * MS,
        ..Conditions::delayed(10 * MS)
    };
    let (switch, one, two) = pair(11, conditions);
    for number in 0..100_u8 {
        send(&one, address(2), &[number]);
    }
    let mut got = receive_all(&switch, &two).await.concat();
    let held_back = switch.total().reordered;
    assert!((5..=40).contains(&held_back), "{held_back} of 100");
    assert!(!got.is_sorted());
    got.sort_unstable();
    assert_eq!(got, (0..100).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn duplication_delivers_a_copy_behind_the_original() {
    let conditions = Conditions {
        duplication: 1.0,
        ..Conditions::delayed(MS)
    };
    let (switch, one, two) = pair(1, conditions);
    send(&one, address(2), b"a");
    send(&one, address(2), b"b");
    assert_eq!(receive_all(&switch, &two).await.concat(), b"aabb");
    assert_eq!(switch.total().duplicated, 2);
    assert_conserved(&switch);
}

#[tokio::test(start_paused = true)]
async fn bandwidth_spaces_datagrams_and_the_queue_drops_its_tail() {
    let conditions = Conditions {
        bandwidth: Some(1_000_000),
        queue_bytes: Some(4_000),
        ..Conditions::default()
    };
    let (switch, one, two) = pair(1, conditions);
    let start = Instant::now();
    for number in 0..5_u8 {
        send(&one, address(2), &[number; 1_000]);
    }
    // Four fill the queue, the fifth does not fit.
    assert_eq!(switch.total().dropped.queue_full, 1);
    assert_eq!(switch.total().longest_queue_bytes, 4_000);
    for number in 0..4_u8 {
        assert_eq!(receive(&two).await.0[0], number);
        assert_eq!(start.elapsed(), MS * (u32::from(number) + 1));
    }
    // The queue is empty again.
    send(&one, address(2), &[9; 4_000]);
    assert_eq!(receive(&two).await.0.len(), 4_000);
    assert_eq!(start.elapsed(), 8 * MS);
    assert_conserved(&switch);
}

#[tokio::test(start_paused = true)]
async fn a_full_receive_buffer_drops_until_it_is_read() {
    let (switch, one, _two) = pair(1, Conditions::default());
    let options = SocketOptions {
        receive_buffer_bytes: 100,
        ..SocketOptions::default()
    };
    let three = switch.bind(address(3), options).unwrap();
    send(&one, address(3), &[0; 60]);
    send(&one, address(3), &[0; 40]);
    send(&one, address(3), &[0; 1]);
    tokio::time::sleep(MS).await;
    assert_eq!(switch.total().dropped.receive_buffer, 1);
    assert_eq!(receive_all(&switch, &three).await.len(), 2);
    send(&one, address(3), &[0; 100]);
    assert_eq!(receive(&three).await.0.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_blocked_path_loses_what_is_sent_and_what_is_under_way() {
    let (switch, one, two) = pair(1, Conditions::delayed(10 * MS));
    send(&one, address(2), b"under way");
    switch.block_one_way(host(1), host(2));
    send(&one, address(2), b"sent");
    send(&two, address(1), b"the other direction");
    assert_eq!(receive(&one).await.0, b"the other direction");
    assert_eq!(switch.counters(host(1), host(2)).dropped.blocked, 2);
    switch.heal();
    send(&one, address(2), b"healed");
    assert_eq!(receive(&two).await.0, b"healed");
    assert_eq!(switch.conditions(host(1), host(2)).delay, 10 * MS);
}

#[tokio::test(start_paused = true)]
async fn a_partition_separates_two_sides_and_nobody_else() {
    let (switch, one, two) = pair(1, Conditions::default());
    let three = bind(&switch, address(3));
    let four = bind(&switch, address(4));
    switch.partition(&[host(1), host(2)], &[host(3)]);
    for (from, to) in [(&one, 3), (&two, 3), (&three, 1), (&three, 2)] {
        send(from, address(to), b"cut");
    }
    assert_eq!(switch.total().dropped.blocked, 4);
    for (from, to) in [(&one, 2), (&two, 1), (&three, 4), (&four, 1)] {
        send(from, address(to), b"open");
    }
    tokio::time::sleep(MS).await;
    assert_eq!(switch.total().delivered, 4);
    switch.unblock(host(1), host(3));
    send(&one, address(3), b"open again");
    assert_eq!(receive(&three).await.0, b"open again");
    send(&two, address(3), b"still cut");
    assert_eq!(switch.total().dropped.blocked, 5);
}

#[tokio::test(start_paused = true)]
async fn an_address_belongs_to_one_socket_at_a_time() {
    let (switch, one, two) = pair(1, Conditions::delayed(10 * MS));
    let taken = switch.bind(address(2), SocketOptions::default());
    assert_eq!(taken.unwrap_err().kind(), ErrorKind::AddrInUse);
    let unspecified = "0.0.0.0:7000".parse().unwrap();
    let unspecified = switch.bind(unspecified, SocketOptions::default());
    assert_eq!(unspecified.unwrap_err().kind(), ErrorKind::AddrNotAvailable);

    // Under way to the old socket: the new one at the same address gets it.
    send(&one, address(2), b"late");
    drop(two);
    let reborn = bind(&switch, address(2));
    assert_eq!(receive(&reborn).await.0, b"late");
    drop(reborn);
    send(&one, address(2), b"nobody");
    tokio::time::sleep(11 * MS).await;
    assert_eq!(switch.total().dropped.unbound, 1);
    assert_conserved(&switch);
}

#[tokio::test(start_paused = true)]
async fn port_zero_takes_a_free_port() {
    let switch = Switch::new(1);
    let any = SocketAddr::new(host(1), 0);
    let first = bind(&switch, any).local_addr().unwrap();
    let held = bind(&switch, any);
    let second = bind(&switch, any).local_addr().unwrap();
    assert_eq!(first, held.local_addr().unwrap(), "the first one was free");
    assert_ne!(first, second);
    assert_ne!(first.port(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_crashed_socket_is_cut_off_at_once_and_its_successor_is_not() {
    let (switch, one, two) = pair(1, Conditions::delayed(10 * MS));
    send(&two, address(1), b"sent before the crash");
    send(&one, address(2), b"unread");
    tokio::time::sleep(11 * MS).await;
    assert!(switch.crash(address(2)));
    assert!(!switch.crash(address(2)));

    let reborn = bind(&switch, address(2));
    send(&two, address(1), b"from the dead");
    assert_eq!(switch.total().dropped.detached, 1);
    send(&one, address(2), b"for the living");
    assert_eq!(receive(&reborn).await.0, b"for the living");
    assert!(timeout(MS, receive_forever(&two)).await.is_err());

    // The end of the dead socket must not take the address from the living one.
    drop(two);
    send(&one, address(2), b"still there");
    assert_eq!(receive(&reborn).await.0, b"still there");
    assert_eq!(receive(&one).await.0, b"sent before the crash");
    assert!(timeout(MS, receive_forever(&one)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_makes_the_same_choices_and_another_makes_others() {
    async fn arrivals(seed: u64, other_path_busy: bool) -> Vec<(Duration, u8)> {
        let conditions = Conditions {
            jitter: 20 * MS,
            loss: 0.3,
            reordering: 0.2,
            duplication: 0.2,
            bandwidth: Some(megabits(1)),
            ..Conditions::delayed(10 * MS)
        };
        let (switch, one, two) = pair(seed, conditions);
        let start = Instant::now();
        for number in 0..200_u8 {
            send(&one, address(2), &[number]);
            if other_path_busy {
                send(&two, address(1), &[number]);
            }
        }
        let mut arrivals = Vec::new();
        while let Ok((datagram, _)) = timeout(Duration::from_secs(1), receive_forever(&two)).await {
            arrivals.push((start.elapsed(), datagram[0]));
        }
        assert_conserved(&switch);
        arrivals
    }
    let first = arrivals(42, false).await;
    assert!(first.len() > 100);
    assert_eq!(first, arrivals(42, false).await);
    assert_eq!(first, arrivals(42, true).await, "paths share nothing");
    assert_ne!(first, arrivals(43, false).await);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_switch_ends_its_task_and_silences_its_sockets() {
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    assert_eq!(tasks(), 0);
    let (switch, one, two) = pair(1, Conditions::delayed(MS));
    let clone = switch.clone();
    assert_eq!(tasks(), 1);
    drop(switch);
    send(&one, address(2), b"a clone keeps it alive");
    receive(&two).await;
    drop(clone);
    tokio::task::yield_now().await;
    assert_eq!(tasks(), 0);
    send(&one, address(2), b"void");
    assert!(timeout(10 * MS, receive_forever(&two)).await.is_err());
}
