use super::*;

const SETTLE: Duration = Duration::from_secs(5);

fn id(text: &str) -> InterfaceId {
    InterfaceId::new(text)
}

fn at(device_index: u32, attached: Option<Instant>) -> Known {
    Known {
        attachment: None,
        device_index,
        card: 0,
        subnet: SubnetId::new("subnet-a"),
        own: Vec::new(),
        held: Grant::default(),
        attached,
    }
}

fn index(memory: &Memory) -> u32 {
    memory.reserve(&BTreeSet::new()).index
}

#[test]
fn two_attaches_at_once_take_different_device_indexes_and_give_them_back() {
    let memory = Memory::default();
    memory.remember(&id("eni-0"), at(0, None));
    let (first, second) = (
        memory.reserve(&BTreeSet::new()),
        memory.reserve(&BTreeSet::new()),
    );
    assert_eq!((first.index, second.index), (1, 2));
    assert_eq!(memory.on_default_card(), 3);
    drop(first);
    assert_eq!(index(&memory), 1);
}

#[test]
fn an_index_that_was_found_taken_is_not_tried_again() {
    let memory = Memory::default();
    assert_eq!(memory.reserve(&BTreeSet::from([1, 2])).index, 3);
}

#[test]
fn interfaces_of_another_network_card_take_no_index_of_the_default_card() {
    let memory = Memory::default();
    let other = Known {
        card: 1,
        ..at(1, None)
    };
    memory.remember(&id("eni-1"), other);
    assert_eq!((index(&memory), memory.on_default_card()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_describe_that_lags_forgets_nothing_that_we_just_attached() {
    let memory = Memory::default();
    memory.remember(&id("eni-1"), at(1, Some(Instant::now())));
    memory.observe(BTreeMap::new(), Instant::now(), SETTLE);
    assert_eq!(index(&memory), 2);
    tokio::time::advance(SETTLE).await;
    memory.observe(BTreeMap::new(), Instant::now(), SETTLE);
    assert_eq!(index(&memory), 1);
}

#[tokio::test(start_paused = true)]
async fn a_describe_that_lags_brings_nothing_back_that_we_just_deleted() {
    let memory = Memory::default();
    memory.deleted(&id("eni-1"));
    let shown = || BTreeMap::from([(id("eni-1"), at(1, None))]);
    memory.observe(shown(), Instant::now(), SETTLE);
    assert_eq!(memory.known(&id("eni-1")), None);
    tokio::time::advance(SETTLE).await;
    memory.observe(shown(), Instant::now(), SETTLE);
    assert!(memory.known(&id("eni-1")).is_some());
}

#[test]
fn a_repeated_attempt_tells_the_same_time_and_the_subnet_tried_last() {
    let memory = Memory::default();
    let first = memory.attempt("one", || "then".to_owned());
    memory.attempted_in("one", &SubnetId::new("subnet-b"));
    let again = memory.attempt("one", || "now".to_owned());
    assert_eq!(again.created, first.created);
    assert_eq!(again.subnet, Some(SubnetId::new("subnet-b")));
}

#[tokio::test(start_paused = true)]
async fn what_is_left_behind_keeps_its_first_time_until_it_is_cleared() {
    let memory = Memory::default();
    memory.left_behind(&id("eni-1"));
    assert!(memory.debris(SETTLE).is_empty());
    tokio::time::advance(SETTLE).await;
    memory.left_behind(&id("eni-1"));
    assert_eq!(memory.debris(SETTLE).len(), 1);
    memory.cleared(&id("eni-1"));
    assert!(memory.debris(SETTLE).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_doubt_is_told_once_after_its_time_and_not_while_an_interface_is_being_made() {
    let memory = Memory::default();
    memory.making().set_doubt(true);
    assert!(!memory.take_doubt(SETTLE), "it is too early");
    tokio::time::advance(SETTLE).await;
    let other = memory.making();
    assert!(!memory.take_doubt(SETTLE), "another one is being made");
    drop(other);
    assert!(memory.take_doubt(SETTLE));
    assert!(!memory.take_doubt(SETTLE), "it was told");
}

#[tokio::test(start_paused = true)]
async fn an_answer_leaves_no_doubt() {
    let memory = Memory::default();
    let mut making = memory.making();
    making.set_doubt(true);
    making.set_doubt(false);
    drop(making);
    tokio::time::advance(SETTLE).await;
    assert!(!memory.take_doubt(SETTLE));
}
