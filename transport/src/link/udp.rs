//! The UDP socket as quinn gets it: capped in what it sends at once, and let go of at the end.
//!
//! This room must not know what the packets carry.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::time::timeout;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::limits::{LAST_PACKETS_LIMIT, UDP_PAYLOAD_BYTES_MAX};

/// A socket that never sends more at once than one UDP payload can hold.
///
/// Above 65,507 bytes each large send fails, quinn takes the path for one that drops large packets,
/// and falls back to 1,200 bytes: 20,000 small calls a second instead of 350,000.
#[derive(Debug)]
pub(crate) struct CappedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    segments_max: usize,
    /// Dropped behind the socket.
    held: TaskTrackerToken,
}

impl CappedSocket {
    /// The socket counts as a task until quinn has let go of it.
    pub(crate) fn new(
        inner: Arc<dyn AsyncUdpSocket>,
        datagram_bytes_max: u16,
        held: TaskTrackerToken,
    ) -> Self {
        let fitting = UDP_PAYLOAD_BYTES_MAX / usize::from(datagram_bytes_max);
        let segments_max = inner.max_transmit_segments().min(fitting).max(1);
        Self {
            inner,
            segments_max,
            held,
        }
    }
}

impl AsyncUdpSocket for CappedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(HeldPoller {
            inner: Arc::clone(&self.inner).create_io_poller(),
            _held: self.held.clone(),
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.segments_max
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

/// A poller holds the socket as well.
#[derive(Debug)]
struct HeldPoller {
    inner: Pin<Box<dyn UdpPoller>>,
    _held: TaskTrackerToken,
}

impl UdpPoller for HeldPoller {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().inner.as_mut().poll_writable(cx)
    }
}

/// Takes the socket away from an endpoint that was closed. quinn keeps it for three timeouts of every
/// connection's path, to answer late packets; on a slow path these are seconds in which the port is
/// taken.
fn let_go(endpoint: &quinn::Endpoint) {
    let v6 = endpoint.local_addr().is_ok_and(|own| own.is_ipv6());
    let nothing = Arc::new(NoSocket { v6 });
    // Twice, because quinn goes on to read from the socket before the present one.
    for _ in 0..2 {
        let socket: Arc<dyn AsyncUdpSocket> = Arc::<NoSocket>::clone(&nothing);
        // It fails only for a socket without an address.
        drop(endpoint.rebind_abstract(socket));
    }
}

/// Sends nowhere, and receives nothing.
#[derive(Debug)]
struct NoSocket {
    v6: bool,
}

impl AsyncUdpSocket for NoSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, _: &Transmit<'_>) -> io::Result<()> {
        Ok(())
    }

    fn poll_recv(
        &self,
        _: &mut Context<'_>,
        _: &mut [IoSliceMut<'_>],
        _: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(if self.v6 {
            (Ipv6Addr::UNSPECIFIED, 0).into()
        } else {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        })
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Waits until quinn has sent its last packets on a closed endpoint, and takes the socket away from
/// it where that takes too long.
///
/// # Cancel safety
///
/// Dropping the future leaves the socket to quinn.
pub(crate) async fn wait_idle(endpoint: &quinn::Endpoint) {
    if timeout(LAST_PACKETS_LIMIT, endpoint.wait_idle())
        .await
        .is_err()
    {
        let_go(endpoint);
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::task::TaskTracker;

    use super::*;

    /// A socket of a kernel that takes so many segments at once.
    #[derive(Debug)]
    struct Offload(usize);

    impl AsyncUdpSocket for Offload {
        fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
            Box::pin(AlwaysWritable)
        }

        fn try_send(&self, _: &Transmit<'_>) -> io::Result<()> {
            Ok(())
        }

        fn poll_recv(
            &self,
            _: &mut Context<'_>,
            _: &mut [IoSliceMut<'_>],
            _: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok((Ipv4Addr::LOCALHOST, 1).into())
        }

        fn max_transmit_segments(&self) -> usize {
            self.0
        }
    }

    /// What quinn may send at once over a socket of a kernel that takes so much.
    fn segments(kernel: usize, datagram_bytes_max: u16) -> usize {
        let inner = Arc::new(Offload(kernel));
        let held = TaskTracker::new().token();
        CappedSocket::new(inner, datagram_bytes_max, held).max_transmit_segments()
    }

    /// At the limit, and one segment past it.
    #[test]
    fn what_leaves_at_once_fits_one_payload() {
        for datagram in [1_200, 1_452, 6_500, 8_191, 8_952, 32_753, 65_507] {
            let found = segments(64, datagram);
            assert!(found * usize::from(datagram) <= UDP_PAYLOAD_BYTES_MAX);
            let more = (found + 1) * usize::from(datagram);
            assert!(more > UDP_PAYLOAD_BYTES_MAX || found == 64, "{datagram}");
        }
        assert_eq!(segments(64, 8_952), 7);
        assert_eq!(segments(64, 1_452), 45);
        // Never more than the kernel takes, and always one.
        assert_eq!(segments(3, 1_452), 3);
        assert_eq!(segments(0, 1_452), 1);
    }
}
