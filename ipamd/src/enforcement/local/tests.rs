use std::path::Path;

use veni_policy::folder::parse;
use veni_policy::objects::Reference;

use super::*;

fn objects(text: &str) -> Vec<Change> {
    let contents = parse(Path::new("objects.yaml"), text);
    assert!(contents.problems.is_empty(), "{:?}", contents.problems);
    contents.objects.into_iter().map(Change::Apply).collect()
}

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: web, labels: {app: web}}
status: {podIPs: [{ip: 10.0.0.9}]}
";

const CLOSED: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: closed}
spec: {podSelector: {}, policyTypes: [Ingress]}
";

fn is_isolated(side: &Side) -> bool {
    matches!(side, Side::Isolated(_))
}

#[test]
fn nothing_is_known_of_a_pod_before_a_source_has_told_everything() {
    for mode in [PolicyMode::Standard, PolicyMode::Strict] {
        let mut local = Local::default();
        assert_eq!(local.admit(7, Some("shop/web"), mode), None);
        assert_eq!(local.admit(8, None, mode), Some(PodPolicy::default()));
        let told = local.take_in(objects(POD), &Needed::Everywhere, mode);
        let indexes: Vec<u32> = told.iter().map(|(index, _)| *index).collect();
        assert_eq!(indexes, [7, 8]);
    }
    let mut local = Local::default();
    let open = Some(PodPolicy::default());
    assert_eq!(local.admit(7, Some("shop/web"), PolicyMode::None), open);
}

#[test]
fn a_policy_reaches_all_links_of_its_pod_and_no_others() {
    let mode = PolicyMode::Standard;
    let mut local = Local::default();
    for (index, pod) in [(7, "shop/web"), (8, "shop/web"), (9, "shop/other")] {
        local.admit(index, Some(pod), mode);
    }
    local.take_in(objects(POD), &Needed::Everywhere, mode);
    let told = local.take_in(objects(CLOSED), &Needed::Everywhere, mode);
    let indexes: Vec<u32> = told.iter().map(|(index, _)| *index).collect();
    assert_eq!(indexes, [7, 8]);
    assert!(told.iter().all(|(_, policy)| is_isolated(&policy.ingress)));
    assert!(told.iter().all(|(_, policy)| policy.egress == Side::Open));
    let late = local.admit(10, Some("shop/web"), mode).expect("known");
    assert!(is_isolated(&late.ingress));
}

#[test]
fn in_the_strict_mode_what_no_policy_selects_is_closed() {
    let mode = PolicyMode::Strict;
    let mut local = Local::default();
    local.admit(7, Some("shop/web"), mode);
    let told = local.take_in(objects(POD), &Needed::Everywhere, mode);
    let [(7, policy)] = &told[..] else {
        panic!("{told:?}");
    };
    let nothing = Side::Isolated(Arc::new(RuleSet::default()));
    assert_eq!((&policy.ingress, &policy.egress), (&nothing, &nothing));
    let unknown = local.admit(8, Some("shop/unknown"), mode);
    assert_eq!(unknown, None, "nobody has told of it");
}

#[test]
fn a_refused_link_is_returned_again_unless_it_is_gone() {
    let mode = PolicyMode::Standard;
    let mut local = Local::default();
    local.admit(7, Some("shop/web"), mode);
    local.admit(8, Some("shop/web"), mode);
    local.take_in(objects(POD), &Needed::Everywhere, mode);
    assert!(
        local
            .take_in(Vec::new(), &Needed::Everywhere, mode)
            .is_empty()
    );
    local.try_again(7);
    local.try_again(8);
    local.dismiss(8);
    let told = local.take_in(Vec::new(), &Needed::Everywhere, mode);
    let indexes: Vec<u32> = told.iter().map(|(index, _)| *index).collect();
    assert_eq!(indexes, [7]);
    assert_eq!(
        local.pod(7).map(ToString::to_string),
        Some("shop/web".to_owned())
    );
    assert_eq!(local.pod(8), None);
}

const SELECTS_PODS: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: from-shop}
spec: {podSelector: {}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {}}]}]}
";

#[test]
fn a_policy_waits_for_the_pods_that_it_selects() {
    let mode = PolicyMode::Standard;
    let mut local = Local::default();
    let none = Needed::Of(BTreeSet::new());
    local.admit(7, Some("shop/web"), mode);
    let told = local.take_in(objects(POD), &none, mode);
    assert_eq!(told.len(), 1, "there is no policy: {told:?}");
    assert!(local.take_in(objects(SELECTS_PODS), &none, mode).is_empty());
    let shop = Needed::Of(BTreeSet::from(["shop".to_owned()]));
    let told = local.take_in(Vec::new(), &shop, mode);
    assert!(
        matches!(&told[..], [(7, policy)] if is_isolated(&policy.ingress)),
        "{told:?}"
    );
}

#[test]
fn a_pod_whose_object_is_deleted_keeps_its_policy_while_it_runs() {
    let mode = PolicyMode::Standard;
    let mut local = Local::default();
    local.admit(7, Some("shop/web"), mode);
    let all = [objects(POD), objects(CLOSED)].concat();
    let told = local.take_in(all, &Needed::Everywhere, mode);
    assert!(
        matches!(&told[..], [(7, policy)] if is_isolated(&policy.ingress)),
        "{told:?}"
    );
    let pod = Reference::Pod(ObjectName::new("shop", "web"));
    let told = local.take_in(vec![Change::Delete(pod)], &Needed::Everywhere, mode);
    assert!(told.is_empty(), "{told:?}");
}
