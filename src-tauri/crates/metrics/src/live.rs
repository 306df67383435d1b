use crate::{
    history::Recalled,
    ring::{Options, Ring, SeriesKey},
};
use flotilla_contract::{
    Millis,
    metric::{MetricAnswer, MetricQuery, SeriesInfo},
};
use std::sync::{Arc, PoisonError, RwLock};

/// The ring as the engine shares it: one writer, any number of readers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Live(Arc<RwLock<Ring>>);

/// What a tick means to the screens.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// The bytes of the tick.
    pub frame: Vec<u8>,
    /// The list of series changed and is to be sent before the frame.
    pub series_changed: bool,
    /// New series that found no room.
    pub refused: usize,
}

impl Live {
    /// An empty ring.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        Self(Arc::new(RwLock::new(Ring::new(options))))
    }

    /// Takes the samples of one tick and gives its frame. See [`Ring::push_tick`].
    pub fn record(&self, at: Millis, samples: &[(SeriesKey, f32)]) -> Recorded {
        let mut ring = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let pushed = ring.push_tick(at, samples);
        Recorded {
            frame: ring.frame().unwrap_or_default(),
            series_changed: pushed.series_changed,
            refused: pushed.refused,
        }
    }

    /// See [`Ring::restore`].
    pub fn restore(&self, recalled: &Recalled) {
        let mut ring = self.0.write().unwrap_or_else(PoisonError::into_inner);
        ring.restore(recalled);
    }

    /// See [`Ring::query`].
    #[must_use]
    pub fn query(&self, query: &MetricQuery) -> MetricAnswer {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .query(query)
    }

    /// Whether the ring reaches back to the beginning of a query; one that names no times is about what the ring has.
    #[must_use]
    pub fn reaches(&self, query: &MetricQuery) -> bool {
        let ring = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let before = |to: Millis| to.saturating_sub(ring.span);
        query.from.or(query.to.map(before)).is_none_or(|from| {
            ring.oldest()
                .is_some_and(|oldest| oldest <= from + ring.interval())
        })
    }

    /// See [`Ring::series`].
    #[must_use]
    pub fn series(&self) -> Vec<SeriesInfo> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .series()
    }

    /// How far back it reaches, in milliseconds.
    #[must_use]
    pub fn span(&self) -> Millis {
        self.0.read().unwrap_or_else(PoisonError::into_inner).span
    }

    /// Distance of two ticks, in milliseconds.
    #[must_use]
    pub fn interval(&self) -> Millis {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .interval()
    }
}
