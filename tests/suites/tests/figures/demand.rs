//! What it helps that the daemon knows of pods before their ADDs: a deployment on a node whose pool is empty.

use veni_testbed::cloudlab::mock::CloudConfig;
use veni_testbed::cluster::{Cluster, ClusterConfig};

use super::watch::Watch;
use crate::objects::{deployment, idle};
use crate::veni;

/// More than one interface has addresses for.
const PODS: usize = 60;
/// One address is bought before somebody needs more.
const EMPTY: [(&str, &str); 2] = [("WARM_IP_TARGET", "1"), ("MINIMUM_IP_TARGET", "1")];
/// Without it the daemon knows of no pod before its ADD.
const MAY_LIST: &str = "    resources: [pods]\n    verbs: [list, watch]\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_a_deployment_get_addresses_with_and_without_demand_that_leads() {
    for leads in [true, false, true, false] {
        let mut config = ClusterConfig::new(1);
        config.instance_type = "c5.18xlarge".to_owned();
        // It takes its time, as EC2 does.
        config.cloud = CloudConfig::aws();
        let cluster = Cluster::start(config).await;
        let shipped = veni::manifests(&EMPTY);
        assert_eq!(shipped.matches(MAY_LIST).count(), 1, "the role has it");
        let manifests = match leads {
            true => shipped,
            false => shipped.replace(MAY_LIST, "    resources: [pods]\n    verbs: [watch]\n"),
        };
        cluster.apply_text(&manifests).await;
        veni::all_ready(&cluster).await;
        let mut watch = Watch::start(&cluster, "many").await;
        cluster.apply(&deployment("many", PODS, None, idle())).await;
        watch.all(PODS, "addresses", |pod| pod.addressed).await;
        let took = veni::add_times(&cluster, "many-").await;
        println!(
            "{PODS} pods on an empty pool, {}: {:.1?} from the first bind to the last address; ADDs {}",
            if leads {
                "demand leads"
            } else {
                "by their ADDs"
            },
            watch.span(|pod| pod.bound, |pod| pod.addressed),
            veni::summary(&took)
        );
    }
}
