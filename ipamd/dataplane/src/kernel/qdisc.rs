//! Queueing disciplines and filters of links: the requests that make them, and what is
//! there (tc(8), `pkt_sched.h`, `pkt_cls.h`).

use netlink_packet_core::{
    DefaultNla, NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL, NLM_F_REPLACE, NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAction, TcActionAttribute, TcActionMirror, TcActionMirrorOption, TcActionOption,
    TcActionType, TcAttribute, TcFilterU32, TcFilterU32Option, TcHandle, TcMessage, TcMirror,
    TcMirrorActionType, TcOption, TcU32Key, TcU32Selector, TcU32SelectorFlags,
};

use super::errno::Refusal;
use super::netlink::{Change, Reply, Socket};
use crate::bandwidth::TokenBucket;

/// Names of kinds, as the kernel has them.
const TBF: &str = "tbf";
const CLSACT: &str = "clsact";

/// Preference (priority) of our filter: what has it is ours.
const PREFERENCE: u16 = 0x5650;

/// `ETH_P_ALL`: packets of every protocol.
const ANY_PROTOCOL: u16 = 3;

/// `TC_LINKLAYER_ETHERNET`: without it the kernel looks for a table of transmission times.
const ETHERNET: u8 = 1;

/// Where the filters of what comes in on a link are, of its clsact.
const INCOMING: TcHandle = TcHandle {
    major: u16::MAX,
    minor: TcHandle::MIN_INGRESS,
};

/// Numbers of attributes.
mod number_of {
    pub(super) const KIND: u16 = 1;
    pub(super) const OPTIONS: u16 = 2;
    pub(super) const TBF_PARAMETERS: u16 = 1;
    pub(super) const TBF_RATE64: u16 = 4;
    pub(super) const TBF_BURST: u16 = 6;
    pub(super) const U32_ACTIONS: u16 = 7;
    pub(super) const ACTION_OPTIONS: u16 = 2;
    pub(super) const MIRRED_PARAMETERS: u16 = 2;
}

/// Bytes of `struct tcmsg`.
const HEADER: usize = 20;

fn message(index: u32, parent: TcHandle) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.index = i32::try_from(index).unwrap_or_default();
    message.header.parent = parent;
    message
}

/// Makes a link's packets pass a token bucket on their way out of it. One that is there is
/// changed, any other qdisc replaced: a link that is up then waits for the kernel.
pub(crate) fn put_bucket(index: u32, name: &str, bucket: &TokenBucket) -> Change {
    let mut message = message(index, TcHandle::ROOT);
    let own = |kind, value| TcOption::Other(DefaultNla::new(kind, value));
    let mut options = vec![
        own(number_of::TBF_PARAMETERS, parameters(bucket)),
        own(number_of::TBF_BURST, bucket.burst.to_ne_bytes().to_vec()),
    ];
    if u32::try_from(bucket.rate).is_err() {
        options.push(own(
            number_of::TBF_RATE64,
            bucket.rate.to_ne_bytes().to_vec(),
        ));
    }
    message.attributes = vec![
        TcAttribute::Kind(TBF.to_owned()),
        TcAttribute::Options(options),
    ];
    Change::new(
        RouteNetlinkMessage::NewQueueDiscipline(message),
        NLM_F_CREATE | NLM_F_REPLACE,
        format!("limit {name} to {} byte/s (qdisc tbf)", bucket.rate),
    )
}

/// `struct tc_tbf_qopt`: two of `struct tc_ratespec`, the rate and none for peaks; bytes
/// that may wait; and the burst in ticks, which its own attribute says in bytes.
fn parameters(bucket: &TokenBucket) -> Vec<u8> {
    let mut bytes = vec![0, ETHERNET, 0, 0, 0, 0, 0, 0];
    bytes.extend(u32::try_from(bucket.rate).unwrap_or(u32::MAX).to_ne_bytes());
    bytes.extend([0; 12]);
    bytes.extend(bucket.limit.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes
}

/// The token bucket of a link; `None` where another qdisc is, or none.
pub(crate) fn bucket(socket: &mut Socket, index: u32) -> Result<Option<TokenBucket>, Refusal> {
    let request = RouteNetlinkMessage::GetQueueDiscipline(message(index, TcHandle::ROOT));
    // Without the echo, the kernel answers only those who listen to all changes.
    match socket.ask(request, NLM_F_ECHO) {
        Ok(answer) => Ok(answer.and_then(|reply| read_bucket(&reply.payload))),
        Err(refusal) if refusal.gone() => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

pub(crate) fn read_bucket(payload: &[u8]) -> Option<TokenBucket> {
    let options = options_of(payload, TBF)?;
    let parameters = attribute(options, number_of::TBF_PARAMETERS)?;
    let rate = match attribute(options, number_of::TBF_RATE64) {
        Some(rate) => u64::from_ne_bytes(rate.try_into().ok()?),
        None => u64::from(word(parameters, 8)?),
    };
    // The kernel tells the burst as the time that it takes at the rate, in ticks of
    // 64 ns, of which it keeps 32 bits.
    let ticks = u128::from(word(parameters, 28)?);
    let burst = (ticks * 64 * u128::from(rate)).div_ceil(1_000_000_000);
    Some(TokenBucket {
        rate,
        burst: u32::try_from(burst).unwrap_or(u32::MAX),
        limit: word(parameters, 24)?,
    })
}

/// Whether two buckets are the same as far as the kernel tells: the burst is rounded, and
/// of one that takes minutes only a part is told.
pub(crate) fn same(one: &TokenBucket, other: &TokenBucket) -> bool {
    let told = u64::from(other.burst) * 1_000_000_000 / other.rate.max(1) < 64 << 32;
    let close = one.burst.abs_diff(other.burst) <= other.burst / 100 + 64;
    one.rate == other.rate && one.limit == other.limit && (close || !told)
}

/// Gives a link the qdisc on which filters of incoming packets hang.
pub(crate) fn put_clsact(index: u32, name: &str) -> Change {
    let mut message = message(index, TcHandle::CLSACT);
    message.header.handle = TcHandle {
        major: u16::MAX,
        minor: 0,
    };
    message.attributes = vec![TcAttribute::Kind(CLSACT.to_owned())];
    Change::new(
        RouteNetlinkMessage::NewQueueDiscipline(message),
        NLM_F_CREATE | NLM_F_EXCL,
        format!("add qdisc clsact to {name}"),
    )
    .unless(Refusal::exists)
}

/// Takes that qdisc off a link, with all filters on it.
pub(crate) fn remove_clsact(index: u32, name: &str) -> Change {
    let mut message = message(index, TcHandle::CLSACT);
    message.header.handle = TcHandle {
        major: u16::MAX,
        minor: 0,
    };
    Change::new(
        RouteNetlinkMessage::DelQueueDiscipline(message),
        0,
        format!("remove qdisc clsact from {name}"),
    )
    .unless(Refusal::gone)
}

fn filter(index: u32) -> TcMessage {
    let mut message = message(index, INCOMING);
    message.header.info = u32::from(PREFERENCE) << 16 | u32::from(ANY_PROTOCOL.to_be());
    message
}

/// Leads everything that comes in on a link through another one.
pub(crate) fn put_redirect(index: u32, name: &str, to: u32) -> Change {
    let mut message = filter(index);
    let mut selector = TcU32Selector::default();
    selector.flags = TcU32SelectorFlags::Terminal;
    selector.nkeys = 1;
    // Compares nothing, so every packet matches.
    selector.keys = vec![TcU32Key::default()];
    let mut redirect = TcMirror::default();
    redirect.generic.action = TcActionType::Stolen;
    redirect.eaction = TcMirrorActionType::EgressRedir;
    redirect.ifindex = to;
    let redirect = TcActionOption::Mirror(TcActionMirrorOption::Parms(redirect));
    let mut action = TcAction::default();
    action.tab = 1;
    action.attributes = vec![
        TcActionAttribute::Kind(TcActionMirror::KIND.to_owned()),
        TcActionAttribute::Options(vec![redirect]),
    ];
    message.attributes = vec![
        TcAttribute::Kind(TcFilterU32::KIND.to_owned()),
        TcAttribute::Options(vec![
            TcOption::U32(TcFilterU32Option::Selector(selector)),
            TcOption::U32(TcFilterU32Option::Action(vec![action])),
        ]),
    ];
    Change::new(
        RouteNetlinkMessage::NewTrafficFilter(message),
        NLM_F_CREATE | NLM_F_EXCL,
        format!("redirect what comes from {name} (filter u32, action mirred)"),
    )
}

/// Takes our filters off a link.
pub(crate) fn remove_redirect(index: u32, name: &str) -> Change {
    Change::new(
        RouteNetlinkMessage::DelTrafficFilter(filter(index)),
        0,
        format!("remove the redirection of what comes from {name}"),
    )
    .unless(Refusal::gone)
}

/// Where our filters lead what comes in on a link, in their order.
pub(crate) fn redirects(socket: &mut Socket, index: u32) -> Result<Vec<u32>, Refusal> {
    let mut request = message(index, INCOMING);
    request.header.info = u32::from(PREFERENCE) << 16;
    match socket.dump(&RouteNetlinkMessage::GetTrafficFilter(request)) {
        Ok(replies) => Ok(replies.iter().filter_map(read_redirect).collect()),
        Err(refusal) if refusal.gone() => Ok(Vec::new()),
        Err(refusal) => Err(refusal),
    }
}

pub(crate) fn read_redirect(reply: &Reply) -> Option<u32> {
    let payload = reply.payload.as_slice();
    let preference = word(payload, 16)? >> 16;
    let options = options_of(payload, TcFilterU32::KIND)?;
    let actions = attribute(options, number_of::U32_ACTIONS)?;
    let first = NlasIterator::new(actions).flatten().next()?;
    let options = attribute(first.value(), number_of::ACTION_OPTIONS)?;
    let parameters = attribute(options, number_of::MIRRED_PARAMETERS)?;
    // `struct tc_mirred`: what all actions have, what is done, and the link.
    let to = word(parameters, 24)?;
    (preference == u32::from(PREFERENCE)).then_some(to)
}

/// The options of a message about something of this kind.
fn options_of<'a>(payload: &'a [u8], kind: &str) -> Option<&'a [u8]> {
    let attributes = payload.get(HEADER..)?;
    let found = attribute(attributes, number_of::KIND)?;
    (found.strip_suffix(&[0])? == kind.as_bytes())
        .then(|| attribute(attributes, number_of::OPTIONS))
        .flatten()
}

fn attribute(attributes: &[u8], number: u16) -> Option<&[u8]> {
    let mut rest = attributes;
    loop {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(4..length)?;
        // The two upper bits say how the value is encoded.
        if kind & 0x3fff == number {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let value = bytes.get(at..at + 4)?;
    value.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_burst_is_compared_as_far_as_the_kernel_tells_it() {
        let bucket = |rate, burst| TokenBucket {
            rate,
            burst,
            limit: 9,
        };
        let wanted = bucket(1_250_000, 125_000);
        assert!(same(&bucket(1_250_000, 124_990), &wanted), "rounded");
        assert!(!same(&bucket(1_250_000, 100_000), &wanted));
        assert!(!same(&bucket(1_250_001, 125_000), &wanted));
        assert!(!same(&TokenBucket { limit: 8, ..wanted }, &wanted));
        // 524 s at the slowest rate.
        assert!(same(&bucket(125, 31_168), &bucket(125, 65_536)));
    }
}
