//! Main memory, side memories and the router that picks between them.
//!
//! WISE keeps the model's own FFN value matrix as *main memory* and trains copies of it, *side memories*, on
//! the edits. The default router, [`KeyRouter`], compares a query with each edit's *key*: its subject and what it asks
//! for. The paper's, [`ActivationRouter`], compares outputs: a side memory answers a query when its output differs enough
//! from the main memory's. The *routing activation* of an edited prompt is trained to be large, that of anything else to
//! be small (Wang et al., NeurIPS 2024, section 2.3.1).
//!
//! [`Recall`] is what every edited model has in common, whoever edited it: for each sequence it tells what answers.
//!
//! **Invariant:** a route is decided once per sequence, from the prompt's own tokens, and holds while the
//! answer is generated. The reference implementation decides again with every token.
//!
//! ```
//! use burn::tensor::Tensor;
//! use wise_memory::Distance;
//! use wise_model::DeviceName;
//!
//! let device = DeviceName::Cpu.open()?;
//! let main = Tensor::<2>::from_floats([[0.0, 0.0], [1.0, 1.0]], &device);
//! let side = Tensor::<2>::from_floats([[3.0, 4.0], [1.0, 1.0]], &device);
//! let distances: Vec<f32> = Distance::Raw.between(&main, side).into_data().iter().collect();
//! assert_eq!(distances, [5.0, 0.0]);
//! # Ok::<(), wise_tensor::Error>(())
//! ```

mod distance;
mod key;
mod memory;
mod recall;
mod router;

pub use distance::{Distance, Pooling};
pub use key::{
    Asked, ChosenFit, Key, KeyReader, Learnt, Match, ReaderState, Reading, RelationReader,
    plain_text,
};
pub use memory::{Memories, Remembered, SideMemory};
pub use recall::{Considered, Given, Oracle, Query, Recall, Recalled, Route, Unedited};
pub use router::{ActivationRouter, KeyRouter, RoutedBy, Router, Threshold, TopOne, Voters};
