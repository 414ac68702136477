//! What operators are told of the pool: events, log lines and levels.

use super::apply::InventoryNews;
use super::difference::Difference;
use super::holdings::Holdings;
use super::metrics::{Gauges, PoolMetrics};
use crate::events::{EventKind, Events, Levels};

/// Tells them.
#[derive(Debug)]
pub(super) struct News {
    events: Events,
    metrics: PoolMetrics,
}

impl News {
    pub(super) fn new(events: Events, metrics: PoolMetrics) -> Self {
        Self { events, metrics }
    }

    /// Tells of a change in the cloud.
    pub(super) fn cloud(&self, message: String) {
        self.events.emit(EventKind::Cloud, message);
    }

    /// Tells of a change of the pool that is none in the cloud.
    pub(super) fn pool(&self, message: String) {
        self.events.emit(EventKind::Pool, message);
    }

    /// An ADD found no address at first.
    pub(super) fn add_waits(&self) {
        self.metrics.add_waits();
    }

    /// Tells what an inventory has changed, put in doubt, and ended.
    pub(super) fn inventory(&self, news: &InventoryNews) {
        for change in &news.found {
            let Difference { concerned, text } = change;
            tracing::info!(change = text, "inventory differs from what was known");
            self.metrics.found(*concerned);
        }
        if let Some(Difference { text, .. }) = news.found.first() {
            let count = news.found.len();
            self.cloud(format!("inventory: {count} changes ({text})"));
        }
        self.dropped(&news.dropped);
        for text in &news.doubted {
            tracing::warn!("{text}");
            self.cloud(text.clone());
        }
        for text in &news.listed_again {
            tracing::info!("{text}");
            self.cloud(text.clone());
        }
        for lost in &news.lost {
            let (address, pod, interface) = (lost.address, &lost.pod, &lost.interface);
            tracing::error!(%address, pod, %interface, "a pod uses an address that the cloud no longer gives this node");
            self.metrics.address_lost();
            self.events.emit(EventKind::Repair, lost.to_string());
        }
        self.metrics.interfaces_lost(news.lost_interfaces);
        for text in &news.returned {
            tracing::warn!("{text}");
            self.cloud(text.clone());
        }
    }

    /// Tells what was dropped because two inventories lack it.
    pub(super) fn dropped(&self, dropped: &[Difference]) {
        let Some(Difference { text, .. }) = dropped.first() else {
            return;
        };
        let count = dropped.len();
        self.cloud(format!("inventory: {count} dropped ({text})"));
        for Difference { concerned, text } in dropped {
            tracing::info!(change = text, "dropped: two inventories lack it");
            self.metrics.dropped(*concerned);
        }
    }

    /// Tells of addresses of the pool that have come to links of the node, or gone.
    pub(super) fn node_addresses(&self, holdings: &mut Holdings) {
        let news = holdings.compare_node_addresses();
        for carried in &news.come {
            let text = carried.to_string();
            tracing::warn!("{text}");
            self.pool(text);
        }
        for address in news.gone {
            let text = format!("{address} of the pool is no longer carried by the node");
            tracing::info!("{text}");
            self.pool(text);
        }
    }

    /// An interface could not be brought into service.
    pub(super) fn set_up_failed(&self) {
        self.metrics.set_up_failed();
    }

    /// Publishes the pool in numbers.
    pub(super) fn levels(&self, gauges: &Gauges) {
        let Gauges {
            levels, waiting, ..
        } = gauges;
        self.events.set_levels(Levels {
            free: levels.free,
            assigned: levels.assigned,
            cooling: levels.cooling,
            waiting: *waiting,
        });
        self.metrics.set(gauges);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ipamd_errors::IpamdErrors;
    use crate::pool::apply::Lost;

    #[test]
    fn an_inventory_is_told_in_few_events_and_each_lost_address_by_itself() {
        let events = Events::default();
        let mut told = events.subscribe();
        let news = News::new(events, PoolMetrics::new(IpamdErrors::default()));
        let lost = Lost {
            address: "10.0.0.9".parse().expect("an address"),
            pod: "shop/web-0".to_owned(),
            interface: veni_nouns::InterfaceId::new("eni-1"),
        };
        news.inventory(&InventoryNews {
            found: vec![
                Difference::of_interface("interface eni-2 found".to_owned()),
                Difference::of_range("another".to_owned()),
            ],
            dropped: vec![Difference::of_range(
                "10.0.0.10/32 on eni-1 is gone".to_owned(),
            )],
            lost: vec![lost],
            ..InventoryNews::default()
        });
        let mut messages = Vec::new();
        while let Ok(event) = told.try_recv() {
            messages.push((event.kind, event.message));
        }
        let expected = [
            (
                EventKind::Cloud,
                "inventory: 2 changes (interface eni-2 found)",
            ),
            (
                EventKind::Cloud,
                "inventory: 1 dropped (10.0.0.10/32 on eni-1 is gone)",
            ),
        ];
        assert_eq!(messages.len(), 3, "{messages:?}");
        for ((kind, message), expected) in messages.iter().zip(expected) {
            assert_eq!((*kind, message.as_str()), expected);
        }
        assert_eq!(messages[2].0, EventKind::Repair);
        assert!(messages[2].1.contains("shop/web-0"), "{messages:?}");
    }
}
