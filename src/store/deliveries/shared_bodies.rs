//! What the deliveries of one event share in memory. Refuses to know endpoints and events.

use crate::model::DialectName;
use crate::model::endpoint::Shape;
use crate::store::{Body, Place, SharedBody};

/// The bodies of one event, one for each way to write it.
#[derive(Default)]
pub struct Bodies {
    written: Vec<(DialectName, Shape, Body)>,
    /// What they take up in memory, once there are deliveries in memory.
    shared: Option<SharedBody>,
}

impl Bodies {
    /// A place for one more delivery. Its body counts once for all.
    pub fn place(&mut self, reserve: impl FnOnce(usize) -> Option<Place>, bytes: usize) -> Option<Place> {
        match &self.shared {
            Some(shared) => reserve(0).map(|place| place.beside(shared)),
            None => reserve(bytes).inspect(|place| self.shared = Some(place.body())),
        }
    }

    /// The bytes in a dialect and shape.
    pub fn of(&mut self, dialect: DialectName, shape: &Shape) -> Body {
        let known = self.written.iter().find(|(known, like, _)| *known == dialect && like == shape);
        if let Some((_, _, body)) = known {
            return body.clone();
        }
        let body = Body::default();
        self.written.push((dialect, shape.clone(), body.clone()));
        body
    }
}
