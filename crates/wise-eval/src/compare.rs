//! Two evaluations side by side.
//!
//! Every score that both runs have at the same moment is compared. Where the runs share records (the same prompt
//! and target; the n-th of several equal ones with the n-th), the difference is taken record by record and only
//! over those, with a [paired](crate::statistics::paired_difference) interval: much narrower than the two means'
//! own intervals suggest. Where they share none it is the difference of the two means, with an
//! [unpaired](crate::statistics::unpaired_difference) interval, and the result says so.

mod text;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::label;
use crate::metrics::{Moment, RecordScores, Report, ScoreName, ScoreSummary};
use crate::statistics::{Interval, paired_difference, unpaired_difference};

/// Run B against run A.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The run that is compared with.
    pub a: Side,
    /// The run that is compared.
    pub b: Side,
    /// How many records both runs have.
    pub shared_records: usize,
    /// One per score and moment that both have.
    pub scores: Vec<ScoreDifference>,
    /// What differs in model, data, editor and hyperparameters.
    pub settings: Vec<Setting>,
}

/// One of the two runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// What the caller calls it, such as its folder.
    pub name: String,
    /// The editor.
    pub editor: String,
    /// The model.
    pub model: String,
    /// How many edits it made.
    pub edits: usize,
    /// Wall-clock time.
    pub seconds_per_edit: Option<f64>,
    /// The most memory the process had.
    pub peak_memory_bytes: Option<u64>,
}

/// A score in both runs at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreDifference {
    /// Which score.
    pub name: ScoreName,
    /// When.
    pub moment: Moment,
    /// In run A, over all its records.
    pub a: Interval,
    /// In run B, over all its records.
    pub b: Interval,
    /// B minus A; `None` if no record has the score.
    pub difference: Option<Interval>,
    /// Whether the difference is over records that both runs have.
    pub paired: bool,
}

/// A setting that differs; null where a run does not have it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Its name; parts of nested settings are separated by dots.
    pub key: String,
    /// In run A.
    pub a: Value,
    /// In run B.
    pub b: Value,
}

impl Comparison {
    /// Compares two reports, each with the name that it shall go by.
    pub fn of(a: (&str, &Report), b: (&str, &Report)) -> Self {
        let pairs = pairs(&a.1.records, &b.1.records);
        Self {
            a: Side::of(a),
            b: Side::of(b),
            shared_records: pairs.len(),
            scores: scores(a.1, b.1, &pairs),
            settings: settings(a.1, b.1),
        }
    }

    /// The comparison in plain text, at most 100 columns wide for names of ordinary length.
    pub fn table(&self) -> String {
        text::render(self)
    }
}

impl Side {
    fn of((name, report): (&str, &Report)) -> Self {
        Self {
            name: name.to_owned(),
            editor: report.editor.clone(),
            model: report.model.name.clone(),
            edits: report.edits,
            seconds_per_edit: report.summary.seconds_per_edit,
            peak_memory_bytes: report.summary.peak_memory_bytes,
        }
    }
}

type Pair<'a> = (&'a RecordScores, &'a RecordScores);

/// Records that both runs have, in the order of A.
fn pairs<'a>(a: &'a [RecordScores], b: &'a [RecordScores]) -> Vec<Pair<'a>> {
    let mut partners: HashMap<_, &RecordScores> = numbered(b).collect();
    numbered(a)
        .filter_map(|(key, record)| Some((record, partners.remove(&key)?)))
        .collect()
}

/// Records by prompt, target and how many equal ones came before.
fn numbered(
    records: &[RecordScores],
) -> impl Iterator<Item = ((&str, &str, usize), &RecordScores)> {
    let mut seen: HashMap<(&str, &str), usize> = HashMap::new();
    records.iter().map(move |scores| {
        let (prompt, target) = (&*scores.record.prompt, &*scores.record.target);
        let earlier = seen.entry((prompt, target)).or_default();
        *earlier += 1;
        ((prompt, target, *earlier), scores)
    })
}

fn scores(a: &Report, b: &Report, pairs: &[Pair]) -> Vec<ScoreDifference> {
    let key = |score: &ScoreSummary| (score.name.clone(), score.moment);
    let of_b: BTreeMap<_, Interval> = b
        .summary
        .scores
        .iter()
        .map(|score| (key(score), score.interval))
        .collect();
    let compare = |score: &ScoreSummary| {
        let (name, moment) = (&*score.name, score.moment);
        let difference = if pairs.is_empty() {
            unpaired_difference(
                &values(&a.records, name, moment),
                &values(&b.records, name, moment),
            )
        } else {
            paired_difference(&paired_values(pairs, name, moment))
        };
        Some(ScoreDifference {
            name: score.name.clone(),
            moment,
            a: score.interval,
            b: *of_b.get(&key(score))?,
            difference,
            paired: !pairs.is_empty(),
        })
    };
    let mut scores: Vec<ScoreDifference> = a.summary.scores.iter().filter_map(compare).collect();
    scores.sort_by(|a, b| {
        let names = label::order(&a.name).cmp(&label::order(&b.name));
        names.then(a.moment.cmp(&b.moment))
    });
    scores
}

fn value(record: &RecordScores, name: &str, moment: Moment) -> Option<f64> {
    record.at(moment).scores.get(name).copied()
}

fn values(records: &[RecordScores], name: &str, moment: Moment) -> Vec<f64> {
    let score = |record| value(record, name, moment);
    records.iter().filter_map(score).collect()
}

fn paired_values(pairs: &[Pair], name: &str, moment: Moment) -> Vec<[f64; 2]> {
    let both = |(a, b): &Pair| Some([value(a, name, moment)?, value(b, name, moment)?]);
    pairs.iter().filter_map(both).collect()
}

fn settings(a: &Report, b: &Report) -> Vec<Setting> {
    let (a, b) = (flat_settings(a), flat_settings(b));
    let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let value =
        |side: &BTreeMap<_, Value>, key: &String| side.get(key).cloned().unwrap_or_default();
    let both = |key: &String| Setting {
        key: key.clone(),
        a: value(&a, key),
        b: value(&b, key),
    };
    let differs = |setting: &Setting| setting.a != setting.b;
    keys.into_iter().map(both).filter(differs).collect()
}

/// Everything that was set, by name.
fn flat_settings(report: &Report) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::from([
        ("model".to_owned(), report.model.name.clone().into()),
        (
            "model.sha256".to_owned(),
            report.model.sha256.clone().into(),
        ),
        (
            "model.precision".to_owned(),
            report.model.precision.clone().into(),
        ),
        ("oracle_router".to_owned(), report.oracle_router.into()),
        ("editor".to_owned(), report.editor.clone().into()),
        ("edits".to_owned(), report.edits.into()),
        ("seed".to_owned(), report.seed.into()),
        ("order".to_owned(), report.order.into()),
        (
            "prompt_format".to_owned(),
            report.prompt_format.to_string().into(),
        ),
        ("data".to_owned(), report.data.path.clone().into()),
        (
            "data.format".to_owned(),
            report.data.format.to_string().into(),
        ),
        ("data.sha256".to_owned(), report.data.sha256.clone().into()),
    ]);
    if !report.setup.is_empty() {
        all.insert("setup.sha256".to_owned(), report.setup.clone().into());
    }
    for (key, value) in flatten("", &report.config) {
        // What the report itself says is resolved; the configuration may leave it open.
        all.entry(key).or_insert(value);
    }
    all
}

/// The leaves of a JSON object, their names joined by dots.
pub(crate) fn flatten(prefix: &str, value: &Value) -> Vec<(String, Value)> {
    let Value::Object(fields) = value else {
        return vec![(prefix.to_owned(), value.clone())];
    };
    let name = |key: &str| match prefix {
        "" => key.to_owned(),
        prefix => format!("{prefix}.{key}"),
    };
    let leaves = |(key, value): (&String, &Value)| flatten(&name(key), value);
    fields.iter().flat_map(leaves).collect()
}

#[cfg(test)]
mod tests;
