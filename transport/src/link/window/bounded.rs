//! CUBIC between two bounds: quinn's controller, and what it is held to.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use quinn::congestion::{Controller, ControllerFactory, CubicConfig};
use quinn_proto::RttEstimator;

use super::allowance::Allowance;

/// Makes controllers.
#[derive(Clone, Debug)]
pub(crate) struct BoundedCubic {
    cubic: Arc<CubicConfig>,
    initial_window: u64,
}

impl BoundedCubic {
    pub(crate) fn new(initial_window: u64) -> Self {
        let mut cubic = CubicConfig::default();
        cubic.initial_window(initial_window);
        let cubic = Arc::new(cubic);
        Self {
            cubic,
            initial_window,
        }
    }
}

impl ControllerFactory for BoundedCubic {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Bounded {
            cubic: Arc::clone(&self.cubic).build(now, current_mtu),
            floor: Floor::new(self.initial_window),
            allowance: Allowance::new(self.initial_window),
        })
    }
}

/// The window that single losses leave in any case.
///
/// CUBIC alone takes a lost packet for a queue that has overflowed. On a path that loses one of a
/// hundred it ends at a dozen packets for all groups together, and those that lost nothing wait for
/// room: 2.7 times the commit of a path without loss. What may be sent into an unknown path at the
/// start of a link may also be sent once in a round trip later: a window, not a rate, so a queue that
/// grows slows it down, and CUBIC's own window still answers each loss above it. What does mean
/// collapse, everything lost for three timeouts, takes the floor away, as RFC 9002 (7.6.2) asks for; it
/// comes back as in slow start, with each byte that arrives.
#[derive(Clone, Copy, Debug)]
struct Floor {
    full: u64,
    now: u64,
}

impl Floor {
    const fn new(full: u64) -> Self {
        Self { full, now: full }
    }

    fn acknowledged(&mut self, bytes: u64) {
        self.now = self.now.saturating_add(bytes).min(self.full);
    }

    const fn collapsed(&mut self) {
        self.now = 0;
    }
}

/// The controller of one path.
struct Bounded {
    cubic: Box<dyn Controller>,
    floor: Floor,
    allowance: Allowance,
}

impl Controller for Bounded {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.cubic.on_sent(now, bytes, last_packet_number);
        self.allowance.sent(last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        // A window that is not used does not grow.
        let unused = self.cubic.window() > self.allowance.bytes();
        self.cubic
            .on_ack(now, sent, bytes, app_limited || unused, rtt);
        self.floor.acknowledged(bytes);
        self.allowance.acknowledged(now, sent, bytes);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.cubic
            .on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
        if let Some(packet) = largest_packet_num_acked {
            self.allowance.ended(now, in_flight, packet, !app_limited);
        }
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        let (before, used) = (self.cubic.window(), self.window());
        self.cubic
            .on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
        let after = self.cubic.window();
        if is_persistent_congestion {
            self.floor.collapsed();
        }
        if after < before {
            // CUBIC may have been far above what was used, and its cut without effect.
            let left = u128::from(used) * u128::from(after) / u128::from(before);
            self.allowance.lost(u64::try_from(left).unwrap_or(used));
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.cubic.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        let cubic = self.cubic.window().max(self.floor.now);
        cubic.min(self.allowance.bytes())
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            cubic: self.cubic.clone_box(),
            floor: self.floor,
            allowance: self.allowance.clone(),
        })
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const INITIAL: u64 = 128 * 1024;
    const MTU: u16 = 1_400;
    const MS: Duration = Duration::from_millis(1);

    fn controller() -> (Box<dyn Controller>, Instant) {
        let now = tokio::time::Instant::now().into_std();
        (Arc::new(BoundedCubic::new(INITIAL)).build(now, MTU), now)
    }

    #[test]
    fn single_losses_leave_what_a_link_begins_with() {
        let (mut controller, start) = controller();
        assert_eq!(controller.window(), INITIAL);
        for number in 1..=50 {
            let now = start + 100 * MS * number;
            controller.on_congestion_event(now, now - MS, false, u64::from(MTU));
        }
        assert_eq!(controller.window(), INITIAL);
    }

    #[test]
    fn a_collapse_leaves_two_packets_and_ends_as_slow_start_does() {
        let (mut controller, start) = controller();
        controller.on_congestion_event(start + MS, start, true, INITIAL);
        assert_eq!(controller.window(), 2 * u64::from(MTU));
        let mut floor = Floor::new(INITIAL);
        floor.collapsed();
        for bytes in [1, INITIAL - 2] {
            floor.acknowledged(bytes);
            assert!(floor.now < INITIAL);
        }
        floor.acknowledged(1);
        assert_eq!(floor.now, INITIAL);
        floor.acknowledged(INITIAL);
        assert_eq!(floor.now, INITIAL);
    }
}
