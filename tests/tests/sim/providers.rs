//! The cryptography under a link is ours: whatever a host does with the default of its process.

use std::time::Duration;

use quicraft_tests::sim::{SimCluster, SimSpec};
use rustls::crypto::CryptoProvider;

const ROUND_TRIP: Duration = Duration::from_millis(10);

/// A host may set the default of its process at any time, and may set it once only.
#[tokio::test(start_paused = true)]
async fn the_default_provider_of_the_process_stays_unset() {
    let cluster = SimCluster::start(SimSpec::new(2, 0, ROUND_TRIP)).await;
    cluster.linked().await;
    assert!(CryptoProvider::get_default().is_none());
}

/// What is recorded today cannot be read by a quantum computer of a later day.
#[cfg(feature = "aws-lc-rs")]
#[tokio::test(start_paused = true)]
async fn the_key_exchange_of_a_link_is_post_quantum() {
    use quicraft_tests::sim::Stranger;
    use quicraft_tests::switch::address;
    use quinn_proto::crypto::rustls::HandshakeData;
    use rustls::NamedGroup;

    let mut cluster = SimCluster::start_unlinked(SimSpec::new(2, 0, ROUND_TRIP)).await;
    cluster.crash(2).await;
    let credentials = cluster.credentials(2);
    let stranger = Stranger::new(&cluster.switch, address(99), &credentials);
    let connection = stranger.connect(address(1)).await.expect("TLS");
    let data = connection.handshake_data().expect("TLS is done");
    let data = data.downcast::<HandshakeData>().expect("it is rustls");
    assert_eq!(
        data.negotiated_key_exchange_group,
        NamedGroup::X25519MLKEM768
    );
}
