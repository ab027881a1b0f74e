//! Prompts that relations are learnt from, and how well two must fit to be taken for one.

use std::ops::Range;

use wise_model::{Error, Model};

use super::reader::all_words;
use super::{KeyReader, Reading};

/// Share of other questions about the same subject that may pass.
const LEAK: f64 = 0.02;

/// Values a fit is chosen from, in hundredths.
const CHOICES: Range<u8> = 0..99;

/// A prompt, and what is asked beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The prompt.
    pub prompt: String,
    /// Where in bytes it names its subject; `None`: all of it is one.
    pub subject: Option<Range<usize>>,
    /// The same in other words.
    pub rephrasings: Vec<String>,
    /// The same, of other subjects.
    pub of_others: Vec<String>,
    /// Something else, of the same subject.
    pub else_of_subject: Vec<String>,
}

impl Asked {
    /// The prompt, and behind it what is asked beside it, in the order of the fields.
    pub(super) fn texts(&self) -> impl Iterator<Item = &String> {
        let beside = [&self.rephrasings, &self.of_others, &self.else_of_subject];
        [&self.prompt]
            .into_iter()
            .chain(beside.into_iter().flatten())
    }
}

/// How well what is asked must fit, and what that does to prompts the map was not learnt on: means over the sources.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChosenFit {
    /// What passes fits better than this.
    pub fit: f64,
    /// Share of the rephrasings that pass.
    pub rephrasings: f64,
    /// Share of the other questions about the same subject that pass.
    pub else_of_subject: f64,
}

/// How well texts fit the keys of their prompts.
#[derive(Debug, Default)]
pub(super) struct Fits {
    rephrasings: Vec<f32>,
    else_of_subject: Vec<f32>,
}

impl Fits {
    pub(super) fn of<'a>(
        reader: &KeyReader,
        model: &Model,
        asked: impl IntoIterator<Item = &'a Asked>,
    ) -> Result<Self, Error> {
        let mut fits = Self::default();
        for asked in asked {
            let key = reader.key(model, &asked.prompt, asked.subject.clone())?;
            let fit = |reading: &Reading| key.fits(reading).relation;
            let texts = [&asked.rephrasings[..], &asked.else_of_subject].concat();
            let readings = reader.read_words(model, &all_words(model, &texts)?, |_| true)?;
            let (rephrasings, others) = readings.split_at(asked.rephrasings.len());
            fits.rephrasings.extend(rephrasings.iter().map(fit));
            fits.else_of_subject.extend(others.iter().map(fit));
        }
        Ok(fits)
    }
}

/// The smallest fit that keeps enough of the other questions out; none where a source has no such questions.
pub(super) fn choose(sources: &[Fits]) -> Option<ChosenFit> {
    if sources.is_empty() || sources.iter().any(|fits| fits.else_of_subject.is_empty()) {
        return None;
    }
    let passing = |fit: f64, of: fn(&Fits) -> &Vec<f32>| {
        let share = |fits: &Fits| {
            let passing = of(fits).iter().filter(|&&got| got > fit as f32).count();
            passing as f64 / of(fits).len().max(1) as f64
        };
        sources.iter().map(share).sum::<f64>() / sources.len() as f64
    };
    let chosen = |hundredths: u8| {
        let fit = f64::from(hundredths) / 100.0;
        ChosenFit {
            fit,
            rephrasings: passing(fit, |fits| &fits.rephrasings),
            else_of_subject: passing(fit, |fits| &fits.else_of_subject),
        }
    };
    let mut choices = CHOICES.map(chosen);
    let strictest = chosen(CHOICES.end);
    Some(
        choices
            .find(|chosen| chosen.else_of_subject <= LEAK)
            .unwrap_or(strictest),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(rephrasings: &[f32], others: &[f32]) -> Fits {
        Fits {
            rephrasings: rephrasings.to_vec(),
            else_of_subject: others.to_vec(),
        }
    }

    #[test]
    fn the_smallest_fit_is_chosen_that_keeps_others_out_in_the_mean_of_the_sources() {
        let many = |fit: f32| vec![fit; 100];
        let mut leaks = many(0.4);
        leaks[..4].fill(0.885);
        let chosen = choose(&[fits(&[0.9, 0.7], &many(0.725)), fits(&[0.8; 2], &leaks)]);
        let expected = ChosenFit {
            fit: 0.73,
            rephrasings: 0.75,
            else_of_subject: 0.02,
        };
        assert_eq!(chosen, Some(expected));
        leaks[..5].fill(0.885);
        let chosen = choose(&[fits(&[], &many(0.2)), fits(&[], &leaks)]);
        assert_eq!(chosen.map(|chosen| chosen.fit), Some(0.89));
    }

    #[test]
    fn where_nothing_keeps_them_out_only_the_very_same_passes_and_without_any_nothing_is_chosen() {
        let same = choose(&[fits(&[0.9], &[1.0])]);
        assert_eq!(same.map(|chosen| chosen.fit), Some(0.99));
        assert_eq!(choose(&[fits(&[0.9], &[])]), None);
        assert_eq!(choose(&[]), None);
    }
}
