//! One bound socket of the switch, as quinn wants it.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::time::Instant;

use super::delivery::Shared;
use super::inboxes::Binding;

/// What the kernel would decide for a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketOptions {
    /// How many datagrams one send may carry (segmentation offload). Default 10, which is what
    /// quinn uses at most; 1 is a kernel without offload.
    pub max_transmit_segments: usize,
    /// How many bytes may wait to be read; a datagram that does not fit is dropped. The same bounds
    /// what the socket sends while it is paused. Default 4 MiB, what the transport asks the kernel
    /// for.
    pub receive_buffer_bytes: usize,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            max_transmit_segments: 10,
            receive_buffer_bytes: 4 * 1024 * 1024,
        }
    }
}

/// One bound socket of the switch.
///
/// Sending never blocks and never fails, as with quinn's own sockets, which log the kernel's
/// errors and go on: what cannot be sent is dropped and counted. Dropping the socket frees its
/// address; what is under way to it reaches the next socket that binds the address, or nobody.
#[derive(Debug)]
pub struct SwitchSocket {
    shared: Arc<Shared>,
    binding: Binding,
    /// What it was bound to, for `dst_ip`: a host behind a NAT knows no other address of itself.
    own: Vec<SocketAddr>,
    options: SocketOptions,
}

impl SwitchSocket {
    pub(super) fn bind(
        shared: Arc<Shared>,
        own: Vec<SocketAddr>,
        options: SocketOptions,
    ) -> io::Result<Arc<Self>> {
        let binding = shared.lock().inboxes.bind(&own, &options)?;
        Ok(Arc::new(Self {
            shared,
            binding,
            own,
            options,
        }))
    }

    /// An address as this socket sees it: one of IPv6 sees IPv4 in its mapped form.
    fn seen(&self, ip: IpAddr) -> IpAddr {
        match ip {
            IpAddr::V4(v4) if self.binding.address.is_ipv6() => v4.to_ipv6_mapped().into(),
            ip => ip,
        }
    }

    /// The address at which a datagram from there comes in.
    fn own_ip(&self, from: IpAddr) -> Option<IpAddr> {
        let same_family = |own: &&SocketAddr| own.is_ipv6() == from.is_ipv6();
        let own = self.own.iter().find(same_family)?;
        Some(self.seen(own.ip()))
    }
}

impl Drop for SwitchSocket {
    fn drop(&mut self) {
        self.shared.lock().inboxes.unbind(self.binding);
    }
}

impl AsyncUdpSocket for SwitchSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let earlier = self
            .shared
            .lock()
            .send(self.binding, transmit, Instant::now());
        if earlier {
            self.shared.tell_delivery();
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.shared.lock();
        let mut filled = 0;
        for (buf, meta) in bufs.iter_mut().zip(meta) {
            let Some(datagram) = state.inboxes.take(self.binding) else {
                break;
            };
            // A datagram larger than the buffer is cut, as `recvmsg` does.
            let len = datagram.payload.len().min(buf.len());
            buf[..len].copy_from_slice(&datagram.payload[..len]);
            *meta = RecvMeta {
                addr: SocketAddr::new(self.seen(datagram.from.ip()), datagram.from.port()),
                len,
                stride: len,
                ecn: datagram.ecn,
                dst_ip: self.own_ip(datagram.from.ip()),
            };
            filled += 1;
        }
        if filled == 0 {
            state.inboxes.wait(self.binding, cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(Ok(filled))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.binding.address)
    }

    fn max_transmit_segments(&self) -> usize {
        self.options.max_transmit_segments
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// The switch has no send buffer that could be full: what waits, waits in the path's queue.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
