//! The UDP socket of the host: bound, and with buffers that hold a burst.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Binds a UDP socket. One on an IPv6 address takes IPv4 too, where the system can do both.
pub(crate) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6()
        && let Err(error) = socket.set_only_v6(false)
    {
        tracing::debug!(target: "quicraft::link", %error, "the socket takes IPv6 only");
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Asks for buffers of `wanted` bytes and returns what the smaller one really has.
pub(crate) fn enlarge_buffers(socket: &UdpSocket, wanted: usize) -> io::Result<usize> {
    let socket = SockRef::from(socket);
    // The kernel grants less than was asked without an error; what it grants is read back.
    socket.set_recv_buffer_size(wanted)?;
    socket.set_send_buffer_size(wanted)?;
    // Linux counts its own bookkeeping in: it doubles what was asked and reports the double.
    let doubled = if cfg!(target_os = "linux") { 2 } else { 1 };
    Ok(socket.recv_buffer_size()?.min(socket.send_buffer_size()?) / doubled)
}
