//! GRACE's codebook: keys with deferral radii, and the output of the edited matrix that each stands for.

use std::sync::Arc;

use burn::tensor::Tensor;
use wise_memory::{Query, Recall, Recalled, Route};
use wise_model::{EditSite, Model, Overlay};

/// A key, and what answers within its radius.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Input of the edited matrix at the last prompt token, `[ffn]`.
    pub(super) key: Arc<[f32]>,
    /// Output of the edited matrix at that token, `[hidden]`.
    pub(super) value: Tensor<1>,
    /// Deferral radius, epsilon in the paper: the model defers to the codebook this close to the key.
    pub(super) radius: f32,
    /// The target that the value was trained for.
    pub(super) label: String,
    /// Ids of the edits that were trained into it.
    pub(super) edits: Vec<usize>,
}

/// Where an edit goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Place {
    /// A new entry.
    New { radius: f32 },
    /// A new entry; the entry `near` has another label, and both get this radius.
    Split { near: usize, radius: f32 },
    /// The value of this entry is trained on, and its radius becomes this.
    Same { entry: usize, radius: f32 },
}

/// The entries, oldest first.
#[derive(Debug, Clone)]
pub(super) struct Codebook {
    /// Layer of the edited matrix.
    pub(super) layer: usize,
    /// Radius of a new entry.
    pub(super) eps_init: f32,
    pub(super) entries: Vec<Entry>,
}

impl Codebook {
    /// The entry whose key is nearest, and how far away it is.
    fn nearest(&self, key: &[f32]) -> Option<(usize, f32)> {
        let distances = self.entries.iter().map(|entry| distance(&entry.key, key));
        distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// Where an edit goes (paper, algorithm 1): out of reach of every key, into a new entry; in reach of a key
    /// of the same label, into that entry, which grows; of another label, into a new entry half-way to it. At
    /// distance 0 there is no half-way: the prompt is the same, and the entry gets the new label.
    pub(super) fn place(&self, key: &[f32], label: &str) -> Place {
        let radius = self.eps_init;
        let Some((near, distance)) = self.nearest(key) else {
            return Place::New { radius };
        };
        let entry = &self.entries[near];
        if distance > entry.radius + self.eps_init {
            Place::New { radius }
        } else if entry.label == label {
            Place::Same {
                entry: near,
                radius: entry.radius.max(distance),
            }
        } else if distance == 0.0 {
            Place::Same {
                entry: near,
                radius: entry.radius.min(self.eps_init),
            }
        } else {
            Place::Split {
                near,
                radius: distance / 2.0,
            }
        }
    }

    /// Puts an edit where [`Self::place`] said.
    pub(super) fn put(
        &mut self,
        place: Place,
        key: Vec<f32>,
        value: Tensor<1>,
        label: &str,
        edit: usize,
    ) {
        let radius = match place {
            Place::Same { entry, radius } => {
                let entry = &mut self.entries[entry];
                entry.value = value;
                entry.radius = radius;
                label.clone_into(&mut entry.label);
                entry.edits.push(edit);
                return;
            }
            Place::Split { near, radius } => {
                self.entries[near].radius = radius;
                radius
            }
            Place::New { radius } => radius,
        };
        self.entries.push(Entry {
            key: key.into(),
            value,
            radius,
            label: label.to_owned(),
            edits: vec![edit],
        });
    }

    /// The route of a key. Activations are nearness, 1 / (1 + distance), so that larger means nearer as with a
    /// side memory.
    pub(super) fn route(&self, key: &[f32]) -> Route {
        let nearness = |distance: f32| 1.0 / (1.0 + distance);
        self.nearest(key).map_or(Route::MAIN, |(near, distance)| {
            let radius = self.entries[near].radius;
            Route {
                memory: (distance <= radius).then_some(near),
                activation: nearness(distance),
                threshold: nearness(radius),
                edit: self.entries[near].edits.last().copied(),
            }
        })
    }
}

impl Recall for Codebook {
    fn layer(&self) -> usize {
        self.layer
    }

    fn recall(&self, _: &Model, site: &EditSite, queries: &[Query]) -> Vec<Recalled> {
        let recalled = |query: &Query| {
            let route = self.route(&key_at(site, query.prompt_end));
            let overlay = match route.memory {
                Some(entry) => Overlay::Output {
                    position: query.prompt_end - query.sequence.start,
                    value: self.entries[entry].value.clone(),
                },
                None => Overlay::Main,
            };
            Recalled { overlay, route }
        };
        queries.iter().map(recalled).collect()
    }

    fn memory_of(&self, edit: usize) -> Option<usize> {
        let holds = |entry: &Entry| entry.edits.contains(&edit);
        self.entries.iter().position(holds)
    }
}

/// Input of the edited matrix at a packed token, `[ffn]`.
pub(super) fn key_at(site: &EditSite, token: usize) -> Vec<f32> {
    let key = site.inputs.clone().narrow(0, token, 1).into_data();
    key.iter::<f32>().collect()
}

/// Euclidean.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    let squares = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2));
    squares.sum::<f64>().sqrt() as f32
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;

    /// Puts edits with hand-made keys into an empty codebook with an initial radius of 1.
    fn codebook(edits: &[([f32; 2], &str)]) -> Codebook {
        let device = wise_model::DeviceName::Cpu.open().unwrap();
        let mut codebook = Codebook {
            layer: 0,
            eps_init: 1.0,
            entries: Vec::new(),
        };
        for (id, (key, label)) in (1..).zip(edits) {
            let place = codebook.place(key, label);
            let value = Tensor::from_data(TensorData::new(vec![id as f32], [1]), &device);
            codebook.put(place, key.to_vec(), value, label, id);
        }
        codebook
    }

    fn radii(codebook: &Codebook) -> Vec<f32> {
        codebook.entries.iter().map(|entry| entry.radius).collect()
    }

    fn memory(codebook: &Codebook, key: [f32; 2]) -> Option<usize> {
        codebook.route(&key).memory
    }

    #[test]
    fn a_key_out_of_reach_is_new() {
        let book = codebook(&[([0.0, 0.0], "a"), ([3.0, 4.0], "a")]);
        assert_eq!(radii(&book), [1.0, 1.0]);
        assert_eq!(memory(&book, [0.0, 1.0]), Some(0));
        assert_eq!(memory(&book, [3.0, 3.5]), Some(1));
        assert_eq!(memory(&book, [0.0, 1.5]), None);
    }

    #[test]
    fn the_same_label_expands_the_radius() {
        let book = codebook(&[([0.0, 0.0], "a"), ([1.5, 0.0], "a"), ([0.0, 0.5], "a")]);
        assert_eq!(radii(&book), [1.5]);
        assert_eq!(book.entries[0].edits, [1, 2, 3]);
        assert_eq!(book.memory_of(2), Some(0));
        assert_eq!(memory(&book, [0.0, 1.5]), Some(0));
    }

    #[test]
    fn another_label_splits_half_way() {
        let book = codebook(&[([0.0, 0.0], "a"), ([0.5, 0.0], "b")]);
        assert_eq!(radii(&book), [0.25, 0.25]);
        assert_eq!(memory(&book, [0.0, 0.0]), Some(0));
        assert_eq!(memory(&book, [0.5, 0.0]), Some(1));
        assert_eq!(memory(&book, [0.0, 0.5]), None);
        assert_eq!((book.memory_of(1), book.memory_of(2)), (Some(0), Some(1)));
        assert_eq!(book.memory_of(3), None);
    }

    #[test]
    fn the_same_prompt_again_keeps_its_entry_and_what_it_covered_for_the_old_label_is_given_up() {
        let book = codebook(&[([0.0, 0.0], "a"), ([1.5, 0.0], "a"), ([0.0, 0.0], "b")]);
        assert_eq!(radii(&book), [1.0]);
        assert_eq!(book.entries[0].label, "b");
        assert_eq!(book.entries[0].value.clone().into_scalar::<f32>(), 3.0);
        assert_eq!(memory(&book, [1.5, 0.0]), None);
    }

    #[test]
    fn the_route_says_how_near_it_was() {
        let book = codebook(&[([0.0, 0.0], "a")]);
        let route = book.route(&[3.0, 0.0]);
        assert_eq!((route.activation, route.threshold), (0.25, 0.5));
        assert_eq!(codebook(&[]).route(&[3.0, 0.0]), Route::MAIN);
    }
}
