//! Addresses of the pool on the node's own links: no pod gets one while that lasts.

use std::net::IpAddr;

use veni_api::v1::{PoolRequest, PoolResponse};
use veni_testbed::{Bed, BedConfig, eventually, kernel};

async fn pool(bed: &Bed) -> Result<PoolResponse, String> {
    let mut operator = bed.daemon(0).operator().await?;
    let answered = operator.pool(PoolRequest {}).await;
    Ok(answered.map_err(|status| status.to_string())?.into_inner())
}

/// Addresses of a link's interface in a state.
fn on(pool: &PoolResponse, link: &str, state: &str) -> Vec<IpAddr> {
    let its = pool.interfaces.iter().filter(|one| one.link == link);
    let listed = its.flat_map(|one| &one.addresses);
    let found = listed.filter(|one| one.state == state);
    found.filter_map(|one| one.address.parse().ok()).collect()
}

#[tokio::test]
async fn a_free_address_on_eth1_is_no_pods_until_it_is_deleted_there() {
    let config = BedConfig::new(1)
        .instance_type("t3.small")
        .set("WARM_IP_TARGET", "2")
        .set("IP_COOLDOWN_PERIOD", "1");
    let bed = Bed::start(config).await;
    let mut pods = Vec::new();
    for number in 0..3 {
        pods.push(bed.running(0, &format!("p{number}")).await.0);
    }
    let address = eventually("a free address of eth1", async || {
        let pool = pool(&bed).await?;
        let free = on(&pool, "eth1", "free").first().copied();
        free.ok_or_else(|| format!("{pool:?}"))
    })
    .await;
    let node = bed.node(0).to_owned();
    kernel::ip(&node, &format!("address add {address}/20 dev eth1")).await;
    let on_eth1 = ("eth1".to_owned(), address);
    assert!(kernel::addresses(&node).await.contains(&on_eth1));
    let warning = eventually("the daemon's word of it", async || {
        let pool = pool(&bed).await?;
        let mut warnings = pool.host_warnings.iter();
        let found = warnings.find(|one| one.contains(&address.to_string()));
        found.cloned().ok_or_else(|| format!("{pool:?}"))
    })
    .await;
    let cure = format!("ip address delete {address}/20 dev eth1");
    assert!(warning.contains(&cure), "{warning}");
    assert_eq!(
        on(&pool(&bed).await.expect("told"), "eth1", "carried"),
        [address]
    );
    // All other slots of the node's three interfaces.
    for number in 3..8 {
        let (pod, added) = bed.running(0, &format!("p{number}")).await;
        assert_ne!(added.addresses[0], address);
        pods.push(pod);
    }
    kernel::ip(&node, &cure["ip ".len()..]).await;
    // The kernel's notification takes a moment.
    eventually("an address that nobody carries", async || {
        let pool = pool(&bed).await?;
        match on(&pool, "eth1", "carried").is_empty() {
            true => Ok(()),
            false => Err(format!("{pool:?}")),
        }
    })
    .await;
    let (last, added) = bed.running(0, "last").await;
    assert_eq!(added.addresses[0], address, "it is lent again");
    pods.push(last);
    bed.sound(&pods.iter().collect::<Vec<_>>()).await;
    bed.end().await;
}
