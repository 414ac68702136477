use super::*;

const LINK: u16 = 16;

/// A message as the kernel sends it.
fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + payload.len()).expect("short");
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(payload);
    bytes
}

/// What an attempt reads out of messages, the last of which must end it.
fn dump(messages: &[Vec<u8>]) -> Dump {
    let mut dump = Dump::default();
    let mut ended = false;
    for bytes in messages {
        assert!(!ended, "something stands behind the end");
        let message = NetlinkBuffer::new_checked(bytes.as_slice()).expect("a message");
        ended = read(&message, |answer| dump.take(answer)).expect("it can be read");
    }
    assert!(ended);
    dump
}

fn done(code: i32) -> Vec<u8> {
    message(NLMSG_DONE, 0, &code.to_ne_bytes())
}

fn attempts(mut all: Vec<Vec<Vec<u8>>>) -> Result<usize, Refusal> {
    all.reverse();
    let found = whole(|| Ok(dump(&all.pop().expect("another attempt"))));
    found.map(|found| found.len())
}

#[test]
fn a_dump_that_ended_well_is_complete() {
    let link = || message(LINK, 0, &[0; 16]);
    assert_eq!(attempts(vec![vec![link(), link(), done(0)]]), Ok(2));
    assert_eq!(attempts(vec![vec![done(0)]]), Ok(0), "an empty table");
    let without_a_code = message(NLMSG_DONE, 0, &[]);
    assert_eq!(attempts(vec![vec![link(), without_a_code]]), Ok(1));
}

#[test]
fn a_dump_whose_end_carries_an_error_is_an_error_with_the_kernels_words() {
    let link = message(LINK, 0, &[0; 16]);
    let refusal = attempts(vec![vec![link.clone(), done(-12)]]).expect_err("it ended early");
    assert_eq!(refusal, Refusal::new(Errno::NOMEM, None));
    let mut payload = (-105_i32).to_ne_bytes().to_vec();
    payload.extend(9_u16.to_ne_bytes());
    payload.extend(EXPLANATION.to_ne_bytes());
    payload.extend(b"full\0\0\0\0");
    let end = message(NLMSG_DONE, NLM_F_ACK_TLVS, &payload);
    let refusal = attempts(vec![vec![link, end]]).expect_err("it ended early");
    let words = Some("full".to_owned());
    assert_eq!(refusal, Refusal::new(Errno::NOBUFS, words));
}

#[test]
fn an_interrupted_dump_is_repeated_and_only_the_whole_one_counts() {
    let torn = message(LINK, NLM_F_DUMP_INTR, &[0; 16]);
    let link = message(LINK, 0, &[0; 16]);
    let torn_end = message(NLMSG_DONE, NLM_F_DUMP_INTR, &0_i32.to_ne_bytes());
    let found = attempts(vec![
        vec![torn, done(0)],
        vec![link.clone(), link.clone(), torn_end],
        vec![link.clone(), done(0)],
    ]);
    assert_eq!(found, Ok(1));
}

#[test]
fn a_dump_that_stays_interrupted_is_an_error_that_never_means_gone() {
    let torn = || vec![message(LINK, NLM_F_DUMP_INTR, &[0; 16]), done(0)];
    let all = (0..DUMP_ATTEMPTS).map(|_| torn()).collect();
    let refusal = attempts(all).expect_err("no attempt was whole");
    assert!(!refusal.gone() && !refusal.no_such_family() && !refusal.exists());
    let error = refusal.during("list links").to_string();
    assert!(error.contains("changed during each of"), "{error}");
}

#[test]
fn changes_beyond_one_datagram_are_all_tried_and_the_first_refusal_is_returned() {
    let mut tried = Vec::new();
    let outcome = in_parts((0..3 * AT_ONCE + 1).collect(), |some| {
        assert!(some.len() <= AT_ONCE);
        let operation = format!("from {}", some[0]);
        tried.extend(some);
        match tried.len() {
            AT_ONCE => Ok(()),
            _ => Err(Refused {
                operation,
                refusal: Refusal::new(Errno::PERM, None),
            }),
        }
    });
    assert!(tried.iter().copied().eq(0..3 * AT_ONCE + 1));
    let refused = outcome.expect_err("three parts were refused");
    assert_eq!(refused.operation, format!("from {AT_ONCE}"));
}
