//! What an edited model knows, whoever edited it.

use std::fmt::Debug;
use std::ops::Range;

use wise_model::{EditSite, Error, Model, Overlay};

use crate::key::Reading;

/// The decision for one sequence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Route {
    /// The side memory that answers; `None` for the main memory.
    pub memory: Option<usize>,
    /// Routing activation of that side memory, or of the one that came nearest to its threshold; where keys decide,
    /// how well the best edit fits: its subject, or what it asks for where that is the closer decision.
    pub activation: f32,
    /// The threshold it was compared with.
    pub threshold: f32,
    /// The edit whose key fits the sequence best, where keys decided.
    pub edit: Option<usize>,
}

impl Route {
    /// The main memory answers because there is nothing else.
    pub const MAIN: Self = Self {
        memory: None,
        activation: 0.0,
        threshold: f32::INFINITY,
        edit: None,
    };

    /// A changed model answers everything: nothing was decided.
    pub const UNROUTED: Self = Self {
        memory: Some(0),
        activation: 0.0,
        threshold: f32::NEG_INFINITY,
        edit: None,
    };
}

/// What is put in front of a question.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Given {
    /// The text, inside the user's message; it does not vote on the route. Empty for nothing.
    pub text: String,
    /// The decision, where giving is all there is to decide.
    pub route: Option<Route>,
}

/// What a router found at one side memory before it decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Considered {
    /// The side memory.
    pub memory: usize,
    /// Its routing activation; where keys decide, how well the subject of its best edit fits, as a cosine.
    pub activation: f32,
    /// What that has to exceed.
    pub threshold: f32,
    /// Where keys decide, how well the rest of that edit's prompt fits, and what it has to exceed.
    pub relation: Option<(f32, f32)>,
    /// The edit whose key fits best, where keys are looked at.
    pub edit: Option<usize>,
}

/// One sequence of a forward pass, as ranges over its packed tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// The whole sequence, an answer that is shown included.
    pub sequence: Range<usize>,
    /// The user's own words.
    pub scope: Range<usize>,
    /// The last token before the answer.
    pub prompt_end: usize,
    /// The user's own words as keys are compared with them, where that is what decides.
    pub reading: Option<Reading>,
}

/// What answers a sequence.
#[derive(Debug, Clone)]
pub struct Recalled {
    /// What takes the place of the model's own weights.
    pub overlay: Overlay,
    /// Why.
    pub route: Route,
}

/// What an editor has learnt, fixed at one moment: for each sequence, what answers it.
///
/// **Invariant:** it is asked once per sequence, when the prompt has been read, and the answer holds for the
/// whole generation.
pub trait Recall: Debug + Send + Sync {
    /// Layer of the edit site, where a sequence is looked at.
    fn layer(&self) -> usize;

    /// Reads the queries' own words, each given as tokens; nothing where edits are not recognised by keys.
    ///
    /// # Errors
    /// If the model cannot run them.
    fn read(&self, _: &Model, words: &[&[u32]]) -> Result<Vec<Option<Reading>>, Error> {
        Ok(vec![None; words.len()])
    }

    /// What answers each query; `site` holds all of them.
    fn recall(&self, model: &Model, site: &EditSite, queries: &[Query]) -> Vec<Recalled>;

    /// What is put in front of a question. Only retrieval gives anything.
    fn given(&self, _: &str) -> Given {
        Given::default()
    }

    /// What the router finds at each side memory, oldest first; nothing where it does not decide between them.
    fn considered(&self, _: &Model, _: &EditSite, _: &Query) -> Vec<Considered> {
        Vec::new()
    }

    /// The side memory that holds an edit, by the edit's id.
    fn memory_of(&self, edit: usize) -> Option<usize>;

    /// What a router that knows which edit is asked about would answer from; nothing where none decides.
    fn known(&self, _edit: usize) -> Option<Recalled> {
        None
    }

    /// Whether the sequences that are asked together share one decision. Only ablations do.
    fn routes_together(&self) -> bool {
        false
    }
}

/// A router that was told which edit is asked about: one memory answers everything. For ablations: what is lost then, no
/// router can save.
#[derive(Debug, Clone)]
pub struct Oracle {
    /// Layer of the edit site.
    pub layer: usize,
    /// The edit that is asked about.
    pub edit: usize,
    /// What answers, see [`Recall::known`].
    pub known: Recalled,
}

impl Recall for Oracle {
    fn layer(&self) -> usize {
        self.layer
    }

    fn recall(&self, _: &Model, _: &EditSite, queries: &[Query]) -> Vec<Recalled> {
        vec![self.known.clone(); queries.len()]
    }

    fn memory_of(&self, edit: usize) -> Option<usize> {
        self.known.route.memory.filter(|_| edit == self.edit)
    }
}

/// Nothing learnt: the main memory answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unedited;

impl Recall for Unedited {
    fn layer(&self) -> usize {
        0
    }

    fn recall(&self, _: &Model, _: &EditSite, queries: &[Query]) -> Vec<Recalled> {
        let main = Recalled {
            overlay: Overlay::Main,
            route: Route::MAIN,
        };
        vec![main; queries.len()]
    }

    fn memory_of(&self, _: usize) -> Option<usize> {
        None
    }
}
