//! What a test can do to hosts and sockets: each fault by raw datagrams.

use std::future::poll_fn;
use std::io::{ErrorKind, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quicraft_tests::switch::{
    Conditions, SocketOptions, Switch, SwitchSocket, address, address_v6, host, host_v6,
};
use quinn::AsyncUdpSocket;
use quinn::udp::{RecvMeta, Transmit};
use tokio::time::{sleep, timeout};

const MS: Duration = Duration::from_millis(1);
const KEEP: Duration = Duration::from_secs(30);

fn bind(switch: &Switch, address: SocketAddr) -> Arc<SwitchSocket> {
    let options = SocketOptions {
        receive_buffer_bytes: 10,
        ..SocketOptions::default()
    };
    switch.bind(address, options).expect("a free address")
}

/// The sockets of nodes 1 and 2, which have room for ten bytes, 10 ms apart.
fn pair() -> (Switch, Arc<SwitchSocket>, Arc<SwitchSocket>) {
    let switch = Switch::new(1);
    switch.set_default(Conditions::delayed(10 * MS));
    let (one, two) = (bind(&switch, address(1)), bind(&switch, address(2)));
    (switch, one, two)
}

fn send(socket: &dyn AsyncUdpSocket, to: SocketAddr, contents: &str) {
    let transmit = Transmit {
        destination: to,
        ecn: None,
        contents: contents.as_bytes(),
        segment_size: None,
        src_ip: None,
    };
    socket.try_send(&transmit).expect("sending never fails");
}

/// What this socket reads within 20 ms, each with its source and the address where it came in.
async fn received(socket: &dyn AsyncUdpSocket) -> Vec<(String, RecvMeta)> {
    let mut all = Vec::new();
    loop {
        let mut buffer = [0; 64];
        let mut meta = [RecvMeta::default()];
        let read = poll_fn(|cx| {
            let mut buffers = [IoSliceMut::new(&mut buffer)];
            socket.poll_recv(cx, &mut buffers, &mut meta)
        });
        if timeout(20 * MS, read).await.is_err() {
            return all;
        }
        let text = String::from_utf8_lossy(&buffer[..meta[0].len]).into_owned();
        all.push((text, meta[0]));
    }
}

async fn texts(socket: &dyn AsyncUdpSocket) -> Vec<String> {
    let received = received(socket).await;
    received.into_iter().map(|(text, _)| text).collect()
}

/// Only the guarded end opens, and only for the address that it sent to, up to and including 30 s.
#[tokio::test(start_paused = true)]
async fn a_firewall_lets_in_what_was_asked_for() {
    let (switch, one, two) = pair();
    let other_port = bind(&switch, SocketAddr::new(host(1), 7_001));
    switch.guard(host(2), host(1), KEEP);

    send(&*one, address(2), "knock");
    assert!(texts(&*two).await.is_empty(), "nobody asked for it");
    send(&*two, address(1), "ask");
    assert_eq!(texts(&*one).await, ["ask"], "the way out is open");
    send(&*one, address(2), "answer");
    send(&*other_port, address(2), "another");
    assert_eq!(texts(&*two).await, ["answer"], "to that address alone");

    // What comes in keeps nothing open; the last datagram of 2 left 60 ms before this wait.
    sleep(KEEP - 70 * MS).await;
    send(&*one, address(2), "just");
    assert_eq!(texts(&*two).await, ["just"], "it arrives at 30 s sharp");
    send(&*one, address(2), "late");
    assert!(texts(&*two).await.is_empty(), "past 30 s");
    assert_eq!(switch.counters(host(1), host(2)).dropped.guarded, 3);

    switch.unguard(host(2), host(1));
    send(&*one, address(2), "open");
    assert_eq!(texts(&*two).await, ["open"]);
}

#[tokio::test(start_paused = true)]
async fn a_rebound_socket_lives_on_at_its_new_address() {
    let (switch, one, two) = pair();
    send(&*two, address(1), "old");
    send(&*one, address(2), "before");
    switch
        .rebind(address(1), address(11))
        .expect("a free address");
    assert!(texts(&*one).await.is_empty(), "the old address is dead");
    send(&*one, address(2), "after");
    let at_two = received(&*two).await;
    let sources: Vec<_> = at_two.iter().map(|(_, meta)| meta.addr).collect();
    assert_eq!(sources, [address(1), address(11)]);
    send(&*two, address(1), "old");
    send(&*two, address(11), "new");
    let at_one = received(&*one).await;
    assert_eq!(at_one.len(), 1);
    assert_eq!(at_one[0].0, "new");
    // The socket does not know.
    assert_eq!(at_one[0].1.dst_ip, Some(host(1)));
    assert_eq!(one.local_addr().expect("bound"), address(1));
    assert_eq!(switch.counters(host(2), host(1)).dropped.unbound, 2);

    // The old address is free, the new one is not.
    let error = switch.bind(address(11), SocketOptions::default());
    assert_eq!(error.expect_err("taken").kind(), ErrorKind::AddrInUse);
    let error = switch.rebind(address(2), address(11));
    assert_eq!(error.expect_err("taken").kind(), ErrorKind::AddrInUse);
    let error = switch.rebind(address(1), address(12));
    let error = error.expect_err("nobody is there");
    assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
    let error = switch.rebind(address(2), address_v6(2));
    let error = error.expect_err("two families");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let _again = bind(&switch, address(1));
    assert!(switch.crash(address(11)), "it is known by its new address");
    send(&*one, address(2), "nothing");
    assert!(texts(&*two).await.is_empty());
}

/// Both ways are bounded by the socket's ten bytes.
#[tokio::test(start_paused = true)]
async fn a_paused_process_sends_and_reads_later() {
    let (switch, one, two) = pair();
    assert!(switch.pause(address(1)));
    for _ in 0..3 {
        send(&*two, address(1), "12345");
        send(&*one, address(2), "abcde");
    }
    assert!(texts(&*one).await.is_empty(), "it reads nothing");
    assert!(texts(&*two).await.is_empty(), "it sends nothing");
    let (out, back) = (
        switch.counters(host(1), host(2)),
        switch.counters(host(2), host(1)),
    );
    assert_eq!(
        (out.sent, out.dropped.held_full),
        (1, 1),
        "one past the bound"
    );
    assert_eq!((back.delivered, back.dropped.receive_buffer), (2, 1));
    switch.resume(address(1));
    assert_eq!(texts(&*one).await, ["12345"; 2]);
    assert_eq!(texts(&*two).await, ["abcde"; 2]);
    send(&*one, address(2), "on");
    assert_eq!(texts(&*two).await, ["on"]);
    assert!(!switch.pause(address(3)), "nobody is there");

    // What leaves after a move has the new source.
    switch.pause(address(1));
    send(&*one, address(2), "moved");
    switch
        .rebind(address(1), address(11))
        .expect("a free address");
    switch.resume(address(11));
    assert_eq!(received(&*two).await[0].1.addr, address(11));
}

/// A reader that waits when the pause ends is woken by it.
#[tokio::test(start_paused = true)]
async fn a_waiting_reader_is_woken_by_the_end_of_a_pause() {
    let (switch, one, two) = pair();
    let reading = tokio::spawn(async move { texts(&*one).await });
    tokio::task::yield_now().await;
    switch.pause(address(1));
    send(&*two, address(1), "wait");
    sleep(15 * MS).await;
    switch.resume(address(1));
    assert_eq!(reading.await.expect("a reader"), ["wait"]);
}

#[tokio::test(start_paused = true)]
async fn a_silenced_host_hears_and_is_not_heard() {
    let (switch, one, two) = pair();
    let three = bind(&switch, address(3));
    send(&*one, address(2), "under way");
    switch.silence(host(1));
    send(&*one, address(3), "close");
    send(&*two, address(1), "heard");
    assert!(texts(&*two).await.is_empty());
    assert!(texts(&*three).await.is_empty());
    assert_eq!(texts(&*one).await, ["heard"]);
    assert_eq!(switch.total().dropped.blocked, 2);
    switch.heal();
    send(&*one, address(2), "again");
    assert_eq!(texts(&*two).await, ["again"]);
}

#[tokio::test(start_paused = true)]
async fn a_socket_of_both_families_sees_ipv4_at_mapped_addresses() {
    let switch = Switch::new(1);
    let both = switch.dual_socket(address_v6(1), address(1));
    let (four, six) = (bind(&switch, address(2)), bind(&switch, address_v6(3)));
    let mapped: SocketAddr = "[::ffff:10.0.0.2]:7000".parse().expect("an address");
    send(&*four, address(1), "v4");
    send(&*six, address_v6(1), "v6");
    let seen = received(&*both).await;
    assert_eq!((seen[0].0.as_str(), seen[0].1.addr), ("v4", mapped));
    assert_eq!((seen[1].0.as_str(), seen[1].1.addr), ("v6", address_v6(3)));
    assert_eq!(seen[1].1.dst_ip, Some(host_v6(1)));
    send(&*both, mapped, "back");
    send(&*both, address_v6(3), "back");
    for (socket, from) in [(&four, address(1)), (&six, address_v6(1))] {
        let back = received(&**socket).await;
        assert_eq!((back[0].0.as_str(), back[0].1.addr), ("back", from));
    }
    // A socket of one family reaches nobody of the other.
    send(&*four, address_v6(1), "lost");
    send(&*six, address(1), "lost");
    assert!(received(&*both).await.is_empty());
    assert_eq!(switch.total().dropped.no_route, 2);
    // A crash takes both addresses.
    assert!(switch.crash(address(1)));
    let _again = switch.dual_socket(address_v6(1), address(1));
}
