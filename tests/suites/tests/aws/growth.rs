//! A node that grows over all interfaces of its type and shrinks back to one.

use crate::world::World;

#[tokio::test]
async fn a_node_grows_over_all_interfaces_of_its_type_and_shrinks_back_to_one() {
    let world = World::new("m5.large").await;
    let daemon = world.start(&[("WARM_IP_TARGET", "1")]).await;
    daemon.until_holding(1, 1, 0).await;
    daemon.add_pods(0..27).await;
    daemon.rest().await;
    daemon.check().await;
    daemon.until_holding(3, 27, 0).await;
    daemon.del_pods(1..27).await;
    daemon.until_holding(1, 2, 0).await;
    daemon.finish().await;
}
