//! The patch file.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use safetensors::{Dtype, SafeTensors};
use wise_edit::{Editor, Key, KeyReader, ReaderState, ShardState, Snapshot, Wise};
use wise_model::{Config, Model, replace_file};

use crate::checksums::{self, CHECKSUMS};
use crate::compact::is_bf16;
use crate::manifest::{Manifest, ModelIdentity, Provenance, SCHEMA, Shard, Site};
use crate::relations::{read_relations, relation_tensors};
use crate::signature::{PublicKey, SIGNATURE, SecretKey, Signature};
use crate::tensors::{Named, data, file, read, read_any, read_upper_halves, upper_halves};
use crate::{Error, Result};

const MANIFEST_KEY: &str = "wise";

/// Edits as a file: what they are, and the values they changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch {
    /// What the patch says about itself.
    pub manifest: Manifest,
    /// What read the edits' keys.
    pub(crate) reader: ReaderState,
    /// Per shard, its numbers.
    pub(crate) numbers: Vec<Numbers>,
    signature: Option<Signature>,
}

/// See [`ShardState`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Numbers {
    pub(crate) values: Vec<f32>,
    pub(crate) keys: Vec<Key>,
}

impl Patch {
    /// The edits an editor has made so far.
    ///
    /// # Errors
    /// If the model has no such layer; an editor's always has.
    pub fn from_editor(editor: &Wise) -> Result<Self> {
        let (model, config) = (editor.model(), editor.config());
        let layer = config.layer_for(model);
        let manifest = Manifest {
            schema: SCHEMA,
            tool: concat!("wise ", env!("CARGO_PKG_VERSION")).to_owned(),
            model: ModelIdentity {
                name: model.name().to_owned(),
                model_id: model.id(layer)?,
                file_sha256: model.sha256().to_owned(),
            },
            site: Site {
                matrix: Config::down_proj(layer),
                layer,
                shape: model.site_weight(layer)?.dims(),
            },
            config: config.clone(),
            templates: editor.templates().to_vec(),
            negatives: editor.negatives().to_vec(),
            dealt: editor.dealt(),
            undone: editor.undone().to_vec(),
            planned: editor.planned(),
            provenance: BTreeMap::new(),
            shards: Vec::new(),
        };
        let mut patch = Self {
            manifest,
            reader: editor.reader().state().clone(),
            numbers: Vec::new(),
            signature: None,
        };
        for index in 0..editor.shards().len() {
            patch.put_shard(editor, index)?;
        }
        Ok(patch)
    }

    /// The same, where it says of its edits where they come from.
    pub fn with_provenance(mut self, provenance: BTreeMap<usize, Provenance>) -> Self {
        let undone = &self.manifest.undone;
        let held = provenance
            .into_iter()
            .filter(|(id, _)| !undone.contains(id));
        self.manifest.provenance = held.collect();
        self
    }

    /// Takes up an edit that the editor has just made; no shard but the one that holds it may have changed since this
    /// patch was the editor's.
    ///
    /// # Errors
    /// As [`Self::from_editor`].
    pub fn take_up(&mut self, editor: &Wise, id: usize) -> Result<()> {
        let holds = |shard: &wise_edit::Shard| shard.edits().iter().any(|e| e.id == id);
        if let Some(index) = editor.shards().iter().position(holds) {
            self.put_shard(editor, index)?;
        }
        self.manifest.dealt = editor.dealt();
        self.manifest.planned = editor.planned();
        Ok(())
    }

    fn put_shard(&mut self, editor: &Wise, index: usize) -> Result<()> {
        let shard = &editor.shards()[index];
        if shard.edits().is_empty() {
            return Ok(());
        }
        let ShardState {
            mask,
            edits,
            values,
            keys,
        } = shard.state(editor.model(), editor.config())?;
        let min_activation = shard.memory().min_activation();
        let shard = Shard {
            index,
            mask,
            min_activation,
            edits,
        };
        let (shards, numbers) = (&mut self.manifest.shards, Numbers { values, keys });
        match shards.binary_search_by_key(&index, |shard| shard.index) {
            Ok(at) => (shards[at], self.numbers[at]) = (shard, numbers),
            Err(at) => {
                shards.insert(at, shard);
                self.numbers.insert(at, numbers);
            }
        }
        Ok(())
    }

    /// Writes the patch under `path`, replacing what is there only once everything is on disk. A signature is written
    /// along if nothing has changed since it was made.
    ///
    /// # Errors
    /// [`Error::Io`]; nothing is left under `path` that was not there before.
    pub fn save(&self, path: &Path) -> Result<()> {
        let bytes = self.to_bytes(path)?;
        replace_file(path, &bytes).map_err(|source| Error::Io {
            action: "save",
            path: path.to_owned(),
            source,
        })
    }

    /// Signs the patch as it is now.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub fn sign(&mut self, key: &SecretKey) -> Result<()> {
        let (manifest, tensors) = self.contents().map_err(malformed(Path::new("the patch")))?;
        self.signature = Some(Signature::new(key, &checksums_of(&manifest, &tensors)));
        Ok(())
    }

    /// Whose signature it had when it was loaded or signed.
    pub fn signed_by(&self) -> Option<PublicKey> {
        self.signature.map(|signature| signature.by)
    }

    fn to_bytes(&self, path: &Path) -> Result<Vec<u8>> {
        let (manifest, mut tensors) = self.contents().map_err(malformed(path))?;
        let checksums = checksums_of(&manifest, &tensors);
        if let Some(signature) = self.signature.filter(|s| s.is_of(&checksums)) {
            tensors.push((SIGNATURE.to_owned(), Dtype::U8, signature.to_bytes()));
        }
        tensors.push((CHECKSUMS.to_owned(), Dtype::U8, checksums));
        file(&tensors, MANIFEST_KEY, manifest).map_err(malformed(path))
    }

    /// The manifest and the tensors, by name.
    fn contents(&self) -> Result<(String, Vec<Named>), String> {
        let manifest = Manifest {
            schema: self.manifest.schema.max(SCHEMA),
            ..self.manifest.clone()
        };
        let manifest = serde_json::to_string(&manifest).map_err(|e| e.to_string())?;
        let bytes = |numbers: &[f32]| numbers.iter().flat_map(|v| v.to_le_bytes()).collect();
        let f32s = |name: String, numbers: &[f32]| (name, Dtype::F32, bytes(numbers));
        let halves = |name: String, numbers: &[f32]| (name, Dtype::BF16, upper_halves(numbers));
        let mut tensors: Vec<Named> = vec![
            f32s(READER_MEAN.to_owned(), &self.reader.mean),
            halves(READER_WHITENING.to_owned(), &self.reader.whitening),
            f32s(READER_RARE.to_owned(), &[self.reader.rare]),
        ];
        if let Some(relations) = &self.reader.relations {
            tensors.extend(relation_tensors(relations));
        }
        for (i, Numbers { values, keys }) in self.numbers.iter().enumerate() {
            let name = tensor_name(i, VALUES);
            tensors.push(if is_bf16(values) {
                halves(name, values)
            } else {
                f32s(name, values)
            });
            let keys = keys.iter().flat_map(Key::to_bytes).collect();
            tensors.push((tensor_name(i, KEYS), Dtype::U8, keys));
        }
        tensors.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        Ok((manifest, tensors))
    }

    /// Reads a patch and checks that it is whole.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`] or [`Error::Schema`].
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|source| Error::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        Self::from_bytes(&bytes, path)
    }

    /// A patch from the contents of a file; `path` is what errors call it.
    ///
    /// # Errors
    /// [`Error::Malformed`] or [`Error::Schema`].
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self> {
        let malformed = malformed(path);
        let (length, header) =
            SafeTensors::read_metadata(bytes).map_err(|e| malformed(e.to_string()))?;
        check_padding(&bytes[HEADER_AT..][..length]).map_err(&malformed)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| malformed(e.to_string()))?;
        let manifest = header
            .metadata()
            .as_ref()
            .and_then(|metadata| metadata.get(MANIFEST_KEY))
            .ok_or_else(|| {
                malformed(format!(
                    "got no `{MANIFEST_KEY}` metadata, expected a manifest"
                ))
            })?;
        let schema = schema_of(manifest).map_err(&malformed)?;
        if schema != SCHEMA {
            return Err(Error::Schema {
                path: path.to_owned(),
                got: schema,
                expected: SCHEMA,
            });
        }
        let checksums = checksums::check(manifest, &tensors).map_err(&malformed)?;
        let signature = read_signature(&tensors, checksums).map_err(&malformed)?;
        let manifest: Manifest =
            serde_json::from_str(manifest).map_err(|e| malformed(e.to_string()))?;
        manifest.check().map_err(&malformed)?;
        let numbers = (0..manifest.shards.len())
            .map(|i| Numbers::read(&tensors, i, &manifest).map_err(&malformed))
            .collect::<Result<_>>()?;
        let reader = read_reader(&tensors).map_err(&malformed)?;
        Ok(Self {
            manifest,
            reader,
            numbers,
            signature,
        })
    }

    /// The model as edited by this patch.
    ///
    /// # Errors
    /// [`Error::WrongModel`] if the patch was made for another model.
    pub fn snapshot(&self, model: Arc<Model>) -> Result<Snapshot> {
        self.check_model(&model)?;
        let (states, manifest) = (self.states().collect::<Vec<_>>(), &self.manifest);
        let reader = Arc::new(KeyReader::from_state(self.reader.clone()));
        Ok(Wise::recall(
            &model,
            &manifest.config,
            &reader,
            &states,
            &manifest.planned,
            manifest.dealt,
        )?)
    }

    /// The editor that made this patch, as it was then: it makes further edits, or takes some back.
    ///
    /// # Errors
    /// [`Error::WrongModel`] if the patch was made for another model, or if its shards do not fit.
    pub fn editor(&self, model: Arc<Model>) -> Result<Wise> {
        let mut editor = self.new_editor(model)?;
        let (states, manifest) = (self.states().collect::<Vec<_>>(), &self.manifest);
        editor.take_up(&states, &manifest.planned, manifest.dealt, &manifest.undone)?;
        Ok(editor)
    }

    /// An editor without edits, set up as the one that made this patch.
    ///
    /// # Errors
    /// As [`Self::editor`].
    pub fn new_editor(&self, model: Arc<Model>) -> Result<Wise> {
        self.check_model(&model)?;
        let manifest = &self.manifest;
        let reader = KeyReader::from_state(self.reader.clone());
        let (templates, negatives) = (manifest.templates.clone(), manifest.negatives.clone());
        let config = manifest.config.clone();
        Ok(Wise::with_setup(
            model, config, templates, negatives, reader,
        )?)
    }

    /// Whether the patch was made for this model.
    ///
    /// # Errors
    /// [`Error::WrongModel`], [`Error::Shape`] or [`Error::Reader`] if not.
    pub fn check_model(&self, model: &Model) -> Result<()> {
        let site = &self.manifest.site;
        let got = if site.layer < model.config().layers {
            model.id(site.layer)?
        } else {
            "none: it has no such layer".to_owned()
        };
        if got != self.manifest.model.model_id {
            return Err(Error::WrongModel {
                patch_model: self.manifest.model.name.clone(),
                expected: self.manifest.model.model_id.clone(),
                model: model.name().to_owned(),
                got,
            });
        }
        let main = model.site_weight(site.layer)?;
        if main.dims() != site.shape {
            return Err(Error::Shape {
                matrix: site.matrix.clone(),
                got: site.shape,
                expected: main.dims(),
            });
        }
        let (got, expected) = (self.reader.mean.len(), main.dims()[0]);
        if got != expected {
            return Err(Error::Reader { got, expected });
        }
        Ok(())
    }

    /// Each shard with its index.
    fn states(&self) -> impl Iterator<Item = (usize, ShardState)> {
        let shards = self.manifest.shards.iter().zip(&self.numbers);
        shards.map(|(shard, numbers)| {
            let state = ShardState {
                mask: shard.mask,
                edits: shard.edits.clone(),
                values: numbers.values.clone(),
                keys: numbers.keys.clone(),
            };
            (shard.index, state)
        })
    }
}

/// Where the header begins, behind its length.
const HEADER_AT: usize = 8;
const VALUES: &str = "values";
const KEYS: &str = "keys";
const READER_MEAN: &str = "reader.mean";
const READER_WHITENING: &str = "reader.whitening";
const READER_RARE: &str = "reader.rare";

fn tensor_name(shard: usize, what: &str) -> String {
    format!("shard.{shard}.{what}")
}

/// Whether nothing but spaces stands behind a header; no checksum covers that.
fn check_padding(header: &[u8]) -> Result<(), String> {
    let mut padding = header.iter().rev().skip_while(|&&byte| byte == b' ');
    match padding.next() {
        Some(b'}') => Ok(()),
        got => Err(format!("its header ends with {got:?}, expected a brace")),
    }
}

fn malformed(path: &Path) -> impl Fn(String) -> Error {
    |detail| Error::Malformed {
        path: path.to_owned(),
        detail,
    }
}

fn checksums_of(manifest: &str, tensors: &[Named]) -> Vec<u8> {
    let tensors = tensors.iter();
    let tensors = tensors.map(|(name, dtype, bytes)| (name.as_str(), *dtype, bytes.as_slice()));
    checksums::checksums(manifest, tensors)
}

fn read_signature(
    tensors: &SafeTensors<'_>,
    checksums: &[u8],
) -> Result<Option<Signature>, String> {
    if tensors.tensor(SIGNATURE).is_err() {
        return Ok(None);
    }
    let signature = Signature::from_bytes(data(tensors, SIGNATURE, Dtype::U8)?);
    let signature = signature.filter(|signature| signature.is_of(checksums));
    let bad = || "its signature is damaged, or of something else".to_owned();
    signature.ok_or_else(bad).map(Some)
}

fn schema_of(manifest: &str) -> Result<u32, String> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        schema: u32,
    }
    serde_json::from_str::<Versioned>(manifest)
        .map(|versioned| versioned.schema)
        .map_err(|e| format!("its manifest is not readable: {e}"))
}

impl Numbers {
    fn read(tensors: &SafeTensors<'_>, shard: usize, manifest: &Manifest) -> Result<Self, String> {
        let [hidden, ffn] = manifest.site.shape;
        let full = hidden.saturating_mul(ffn);
        let values = read_any(tensors, &tensor_name(shard, VALUES))?;
        if values.len() > full {
            return Err(format!(
                "tensor shard.{shard}.{VALUES} has {} values, expected at most {full}",
                values.len()
            ));
        }
        let keys = read_keys(tensors, &tensor_name(shard, KEYS))?;
        Ok(Self { values, keys })
    }
}

fn read_reader(tensors: &SafeTensors<'_>) -> Result<ReaderState, String> {
    let mean = read(tensors, READER_MEAN)?;
    let whitening = read_upper_halves(tensors, READER_WHITENING)?;
    if mean.is_empty() || whitening.is_empty() || whitening.len() % mean.len() != 0 {
        return Err(format!(
            "its reader has {} and {} values, expected one a multiple of the other",
            mean.len(),
            whitening.len()
        ));
    }
    let rare = read(tensors, READER_RARE)?.first().copied();
    let rare = rare.ok_or_else(|| format!("tensor {READER_RARE} is empty"))?;
    let relations = read_relations(tensors)?;
    if relations
        .as_ref()
        .is_some_and(|r| r.mean.len() != 2 * mean.len())
    {
        return Err("its reader of relations is of another model than its reader".to_owned());
    }
    Ok(ReaderState {
        mean,
        whitening,
        rare,
        relations,
    })
}

fn read_keys(tensors: &SafeTensors<'_>, name: &str) -> Result<Vec<Key>, String> {
    Key::all_from_bytes(data(tensors, name, Dtype::U8)?)
        .map_err(|at| format!("tensor {name} holds no key at byte {at}"))
}
