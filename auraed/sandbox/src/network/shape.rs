//! Limits of bandwidth: a token bucket filter (tc-tbf(8)) on the interface that sends.
//!
//! What a pod receives is limited on the node's end of its pair, what it sends on its own end. Both go with the pair. A pod
//! with CAP_NET_ADMIN in its network can take the latter away.

use std::io;

use futures_util::StreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};

// linux/pkt_sched.h
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
/// Without it the kernel wants a table of the rate to guess it from.
const TC_LINKLAYER_ETHERNET: u8 = 1;

/// What passes at once is what the rate allows in this time: the kernel's timers are finer, but wake up late under load.
const BURST_MILLISECONDS: u64 = 50;
/// What waits longer than this is dropped, as CNI's own plugin does it.
const LATENCY_MILLISECONDS: u64 = 25;
/// Whole packets must pass, also the largest that the kernel puts together itself.
const LEAST_BURST: u64 = 64 * 1024;

/// Lets the interface send no more than `bits` a second.
pub(super) async fn limit(links: &Handle, index: u32, bits: u64) -> io::Result<()> {
    let index = i32::try_from(index).map_err(io::Error::other)?;
    let mut message = TcMessage::with_index(index);
    message.header.parent = TcHandle::ROOT;
    message.attributes = vec![
        TcAttribute::Kind("tbf".to_owned()),
        TcAttribute::Options(options(bits)),
    ];
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewQueueDiscipline(message));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
    let mut answers = links.clone().request(request).map_err(io::Error::other)?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer.payload {
            return Err(error.to_io());
        }
    }
    Ok(())
}

/// Whether the kernel has no such filter.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EAFNOSUPPORT)
    )
}

fn options(bits: u64) -> Vec<TcOption> {
    let rate = (bits / 8).max(1);
    let of_rate = |milliseconds: u64| u64::try_from(u128::from(rate) * u128::from(milliseconds) / 1000);
    let burst = of_rate(BURST_MILLISECONDS).unwrap_or(u64::MAX).max(LEAST_BURST);
    let queue = burst.saturating_add(of_rate(LATENCY_MILLISECONDS).unwrap_or(u64::MAX));
    // The kernel's numbers are 32 bits long; more at once makes no difference.
    let word = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);

    // struct tc_tbf_qopt: the rate, no peak rate, the queue's bytes; buffer and mtu, which the burst stands for.
    let mut parameters = vec![0, TC_LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0]; // struct tc_ratespec, but for its rate
    parameters.extend(word(rate).to_ne_bytes());
    parameters.extend([0; 12]);
    parameters.extend(word(queue).to_ne_bytes());
    parameters.extend([0; 8]);
    let option = |kind: u16, value: Vec<u8>| TcOption::Other(DefaultNla::new(kind, value));
    vec![
        option(TCA_TBF_PARMS, parameters),
        option(TCA_TBF_RATE64, rate.to_ne_bytes().to_vec()),
        option(TCA_TBF_BURST, word(burst).to_ne_bytes().to_vec()),
    ]
}
