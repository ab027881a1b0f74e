//! Edits that were asked for and are not made yet.

use std::collections::HashSet;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::wise::Wise;
use crate::{Edit, Result, Watch};

/// An edit that has its id and its place, and is not made yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// See [`AppliedEdit::id`](crate::AppliedEdit::id).
    pub id: usize,
    /// The edit.
    #[serde(flatten)]
    pub edit: Edit,
    /// Index of the shard it will be trained into.
    pub shard: usize,
}

impl Wise {
    /// Takes edits in without making them: each gets its place, and an id of those returned.
    ///
    /// # Errors
    /// If a shard cannot be opened.
    pub fn plan(&mut self, edits: &[Edit]) -> Result<Range<usize>> {
        self.deal(edits)
    }

    /// The edits that were planned, or failed, and are not made yet, by id.
    pub fn planned(&self) -> Vec<Planned> {
        let made = self.made();
        let open = self.stream.iter().filter(|(id, _)| !made.contains(id));
        open.map(|(&id, dealt)| Planned {
            id,
            edit: dealt.edit.clone(),
            shard: dealt.shard,
        })
        .collect()
    }

    /// Makes the edits that are planned. What comes of it is what [`Editor::apply`](crate::Editor::apply) makes of
    /// them, however often it was interrupted between two edits.
    ///
    /// # Errors
    /// If an edit is not usable or its training fails; those reported to `watch` before hold, the others stay planned.
    pub fn make_planned(&mut self, watch: &mut dyn Watch) -> Result<()> {
        let planned = self.planned().into_iter().map(|planned| planned.id);
        let requests = self.requests(planned);
        let edits = requests.len();
        self.train(requests, edits, watch)
    }

    /// Ids of the edits made.
    pub(super) fn made(&self) -> HashSet<usize> {
        let made = self.shards.iter().flat_map(|shard| &shard.edits);
        made.map(|applied| applied.id).collect()
    }
}
