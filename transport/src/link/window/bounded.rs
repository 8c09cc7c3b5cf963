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

/// For a lost byte the floor falls by one, and for so many that arrived it rises by one: it stays where
/// it is while one of 17 is lost.
const ARRIVED_PER_LOST: u64 = 16;

/// The window that single losses leave in any case.
///
/// CUBIC alone takes a lost packet for a queue that has overflowed. On a path that loses one of a
/// hundred it ends at a dozen packets for all groups together, and those that lost nothing wait for
/// room: 2.7 times the commit of a path without loss. What may be sent into an unknown path at the
/// start of a link may also be sent once in a round trip later: a window, not a rate, so a queue that
/// grows slows it down, and CUBIC's own window still answers each loss above it. A path that is full
/// loses more than single packets, and there the floor falls with what is lost until at most one of 17
/// is; everything lost for three timeouts takes it away, as RFC 9002 (7.6.2) asks for.
#[derive(Clone, Copy, Debug)]
struct Floor {
    full: u64,
    now: u64,
    /// Bytes that arrived and have not raised it yet.
    arrived: u64,
}

impl Floor {
    const fn new(full: u64) -> Self {
        Self {
            full,
            now: full,
            arrived: 0,
        }
    }

    fn acknowledged(&mut self, bytes: u64) {
        let arrived = self.arrived.saturating_add(bytes);
        self.arrived = arrived % ARRIVED_PER_LOST;
        let higher = self.now.saturating_add(arrived / ARRIVED_PER_LOST);
        self.now = higher.min(self.full);
    }

    const fn lost(&mut self, bytes: u64) {
        self.now = self.now.saturating_sub(bytes);
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
        self.floor.lost(lost_bytes);
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
        for number in 1..=20 {
            let now = start + 100 * MS * number;
            controller.on_congestion_event(now, now - MS, false, u64::from(MTU));
        }
        // Nothing has arrived in between, and each packet is lost once.
        assert_eq!(controller.window(), INITIAL - 20 * u64::from(MTU));
        let mut floor = Floor::new(INITIAL);
        for _ in 0..1_000 {
            floor.lost(3 * u64::from(MTU));
            floor.acknowledged(97 * u64::from(MTU));
            assert_eq!(floor.now, INITIAL, "three of a hundred");
        }
    }

    #[test]
    fn a_path_that_is_full_takes_the_floor_away() {
        let mut floor = Floor::new(INITIAL);
        for _ in 0..1_000 {
            floor.lost(10 * u64::from(MTU));
            floor.acknowledged(90 * u64::from(MTU));
        }
        assert!(floor.now < 6 * u64::from(MTU), "{}", floor.now);
    }

    #[test]
    fn a_collapse_leaves_two_packets_and_what_arrives_brings_the_floor_back() {
        let (mut controller, start) = controller();
        controller.on_congestion_event(start + MS, start, true, INITIAL);
        assert_eq!(controller.window(), 2 * u64::from(MTU));
        let mut floor = Floor::new(INITIAL);
        floor.collapsed();
        floor.acknowledged(ARRIVED_PER_LOST * INITIAL - 1);
        assert_eq!(floor.now, INITIAL - 1);
        floor.acknowledged(1);
        assert_eq!(floor.now, INITIAL);
        floor.acknowledged(ARRIVED_PER_LOST);
        assert_eq!(floor.now, INITIAL);
    }
}
