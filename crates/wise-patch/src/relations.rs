//! A reader of relations as a file.

use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use wise_edit::RelationReader;
use wise_model::{Model, replace_file};

use crate::tensors::{Named, data, file, read, read_upper_halves, upper_halves};
use crate::{Error, Result};

const LAYER: &str = "relations.layer";
const MEAN: &str = "relations.mean";
const MAP: &str = "relations.map";
const FIT: &str = "relations.fit";

/// What the file says about itself: JSON under the key `wise` of its metadata.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    schema: u32,
    model: String,
    model_id: String,
}

const SCHEMA: u32 = 3;
const ABOUT: &str = "wise";

/// Writes a reader of relations under `path`, replacing what is there only once everything is on disk.
///
/// # Errors
/// [`Error::Io`], or if the model has no such layer.
pub fn save_relations(path: &Path, relations: &RelationReader, model: &Model) -> Result<()> {
    let malformed = |detail: String| Error::Relations {
        path: path.to_owned(),
        detail,
    };
    let about = About {
        schema: SCHEMA,
        model: model.name().to_owned(),
        model_id: model.id(relations.layer)?,
    };
    let about = serde_json::to_string(&about).map_err(|e| malformed(e.to_string()))?;
    let tensors = relation_tensors(relations);
    let bytes = file(&tensors, ABOUT, about).map_err(malformed)?;
    replace_file(path, &bytes).map_err(|source| Error::Io {
        action: "save",
        path: path.to_owned(),
        source,
    })
}

/// Reads a reader of relations from a file's bytes; `path` is what errors call it.
///
/// # Errors
/// [`Error::Relations`] if it is none, [`Error::WrongModel`] if it was learnt on another model.
pub fn relations_from_bytes(path: &Path, bytes: &[u8], model: &Model) -> Result<RelationReader> {
    let malformed = |detail: String| Error::Relations {
        path: path.to_owned(),
        detail,
    };
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| malformed(e.to_string()))?;
    let about = metadata.metadata().as_ref().and_then(|m| m.get(ABOUT));
    let about = about.ok_or_else(|| malformed(format!("its metadata has no key {ABOUT}")))?;
    let about: About = serde_json::from_str(about).map_err(|e| malformed(e.to_string()))?;
    if about.schema != SCHEMA {
        let (got, expected) = (about.schema, SCHEMA);
        return Err(malformed(format!("schema {got}, expected {expected}")));
    }
    let tensors = SafeTensors::deserialize(bytes).map_err(|e| malformed(e.to_string()))?;
    let relations = read_relations(&tensors).map_err(malformed)?;
    let relations = relations.ok_or_else(|| malformed(format!("it has no tensor {MAP}")))?;
    let got = if relations.layer < model.config().layers {
        model.id(relations.layer)?
    } else {
        "none: it has no such layer".to_owned()
    };
    if got != about.model_id {
        return Err(Error::RelationsOfOtherModel {
            path: path.to_owned(),
            expected: about.model,
            got: model.name().to_owned(),
        });
    }
    Ok(relations)
}

pub(crate) fn relation_tensors(relations: &RelationReader) -> [Named; 4] {
    let bytes = |numbers: &[f32]| numbers.iter().flat_map(|v| v.to_le_bytes()).collect();
    [
        (
            LAYER.to_owned(),
            Dtype::F32,
            bytes(&[relations.layer as f32]),
        ),
        (MEAN.to_owned(), Dtype::F32, bytes(&relations.mean)),
        (MAP.to_owned(), Dtype::BF16, upper_halves(&relations.map)),
        (
            FIT.to_owned(),
            Dtype::F64,
            relations.fit.to_le_bytes().to_vec(),
        ),
    ]
}

/// The reader of relations in some tensors; none where there is no map.
pub(crate) fn read_relations(tensors: &SafeTensors<'_>) -> Result<Option<RelationReader>, String> {
    if tensors.tensor(MAP).is_err() {
        return Ok(None);
    }
    let layer = read(tensors, LAYER)?.first().copied();
    let layer = layer.ok_or_else(|| format!("tensor {LAYER} is empty"))?;
    let (mean, map) = (read(tensors, MEAN)?, read_upper_halves(tensors, MAP)?);
    if mean.is_empty() || map.is_empty() || map.len() % mean.len() != 0 {
        return Err(format!(
            "its reader of relations has {} and {} values, expected one a multiple of the other",
            mean.len(),
            map.len()
        ));
    }
    Ok(Some(RelationReader {
        layer: layer as usize,
        mean,
        map,
        fit: read_fit(tensors)?,
    }))
}

fn read_fit(tensors: &SafeTensors<'_>) -> Result<f64, String> {
    let bytes = data(tensors, FIT, Dtype::F64)?;
    let fit = bytes.try_into().map(f64::from_le_bytes);
    fit.ok()
        .filter(|fit| (-1.0..=1.0).contains(fit))
        .ok_or_else(|| format!("tensor {FIT} holds no number from -1 to 1"))
}
