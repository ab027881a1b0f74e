//! Which of the shipped questions ask for the same as an edit.

use std::sync::OnceLock;

use wise_memory::{Key, KeyReader};
use wise_model::Model;

use crate::Result;
use crate::wise::subject::{RELATIONS, SUBJECTS};

/// A question, with braces for its subject.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) text: String,
    /// What it asks for; none where it was not chosen by that.
    asked: Option<Key>,
}

impl Question {
    /// One of any kind.
    pub(crate) fn of_any_kind(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            asked: None,
        }
    }

    pub(crate) fn is_of_any_kind(&self) -> bool {
        self.asked.is_none()
    }

    /// Whether it asks for what `own` does more than for what any of `others` does.
    pub(crate) fn is_of(&self, own: &Key, others: &[&Key]) -> bool {
        let fit = |key: &Key| key.asks_as(self.asked.as_ref()?);
        fit(own).is_some_and(|own| others.iter().filter_map(|o| fit(o)).all(|o| o < own))
    }
}

/// The shipped questions. What each asks for is read once it is needed.
#[derive(Default)]
pub(crate) struct Questions {
    read: OnceLock<Vec<Question>>,
}

impl Questions {
    /// The questions that ask for what `key`'s prompt does, with a fit over `fit`, and less for what another of the same
    /// subject does; the nearest first. None where the reader does not tell what prompts ask for.
    ///
    /// # Errors
    /// If the model cannot run them.
    pub(crate) fn asking_for(
        &self,
        model: &Model,
        reader: &KeyReader,
        key: &Key,
        others: &[&Key],
        fit: f32,
    ) -> Result<Vec<Question>> {
        if !reader.reads_relations() {
            return Ok(Vec::new());
        }
        let mut near: Vec<(f32, &Question)> = Vec::new();
        for question in self.read(model, reader)? {
            let own = question.asked.as_ref().and_then(|asked| key.asks_as(asked));
            if let Some(own) = own.filter(|&own| own > fit && question.is_of(key, others)) {
                near.push((own, question));
            }
        }
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        Ok(near
            .into_iter()
            .map(|(_, question)| question.clone())
            .collect())
    }

    fn read(&self, model: &Model, reader: &KeyReader) -> Result<&[Question]> {
        if let Some(read) = self.read.get() {
            return Ok(read);
        }
        let subject = SUBJECTS.lines().next().unwrap_or_default();
        let about = |text: &str| {
            let start = text.find("{}").unwrap_or_default();
            let place = start..start + subject.len();
            (text.replace("{}", subject), Some(place))
        };
        let prompts: Vec<_> = RELATIONS.lines().map(about).collect();
        let keys = reader.keys(model, &prompts)?;
        let question = |(text, key): (&str, Key)| Question {
            asked: Some(key),
            ..Question::of_any_kind(text)
        };
        let questions = RELATIONS.lines().zip(keys).map(question);
        Ok(self.read.get_or_init(|| questions.collect()))
    }
}
