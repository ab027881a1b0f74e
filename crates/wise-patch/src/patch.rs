//! The patch file.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use wise_edit::{Snapshot, Wise};
use wise_memory::{Memories, SideMemory};
use wise_merge::MaskSeed;
use wise_model::{Config, Model, replace_file};

use crate::manifest::{Manifest, ModelIdentity, SCHEMA, Shard, Site};
use crate::{Error, Result};

const MANIFEST_KEY: &str = "wise";

/// Edits as a file: what they are, and the values they changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch {
    /// What the patch says about itself.
    pub manifest: Manifest,
    /// Per shard, the side memory's values: those inside the mask in ascending order, or the whole matrix
    /// where training moved values outside it.
    values: Vec<Vec<f32>>,
}

impl Patch {
    /// The edits an editor has made so far.
    ///
    /// # Errors
    /// If the model has no such layer; an editor's always has.
    pub fn from_editor(editor: &Wise) -> Result<Self> {
        let (model, config, memory) = (editor.model(), editor.config(), editor.memory());
        let layer = config.layer_for(model);
        let shape = memory.matrix.dims();
        let matrix: Vec<f32> = memory.matrix.clone().into_data().iter::<f32>().collect();
        let main: Vec<f32> = model
            .site_weight(layer)?
            .into_data()
            .iter::<f32>()
            .collect();
        let mask = memory.mask.draw(matrix.len())?;
        let inside_only = (0..matrix.len()).all(|i| mask.contains(i) || matrix[i] == main[i]);
        let values = if inside_only {
            mask.gather(&matrix)?
        } else {
            matrix
        };
        let shards = if editor.history().is_empty() {
            Vec::new()
        } else {
            vec![Shard {
                mask_seed: memory.mask.seed,
                mask_ratio: memory.mask.ratio,
                min_activation: memory.min_activation,
                edits: editor.history().to_vec(),
            }]
        };
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
                shape,
            },
            config: config.clone(),
            templates: editor.templates().to_vec(),
            negatives: editor.negatives().to_vec(),
            shards,
        };
        let values = manifest.shards.iter().map(|_| values.clone()).collect();
        Ok(Self { manifest, values })
    }

    /// Writes the patch under `path`, replacing what is there only once everything is on disk.
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

    fn to_bytes(&self, path: &Path) -> Result<Vec<u8>> {
        let malformed = |detail: String| Error::Malformed {
            path: path.to_owned(),
            detail,
        };
        let manifest =
            serde_json::to_string(&self.manifest).map_err(|e| malformed(e.to_string()))?;
        let raw: Vec<(String, Vec<u8>)> = self
            .values
            .iter()
            .enumerate()
            .map(|(i, values)| {
                let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                (tensor_name(i), bytes)
            })
            .collect();
        let views = raw
            .iter()
            .map(|(name, bytes)| {
                let view = TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes);
                Ok((name.as_str(), view.map_err(|e| malformed(e.to_string()))?))
            })
            .collect::<Result<Vec<_>>>()?;
        let metadata = HashMap::from([(MANIFEST_KEY.to_owned(), manifest)]);
        safetensors::serialize(views, Some(metadata)).map_err(|e| malformed(e.to_string()))
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
        let malformed = |detail: String| Error::Malformed {
            path: path.to_owned(),
            detail,
        };
        let (_, header) =
            SafeTensors::read_metadata(&bytes).map_err(|e| malformed(e.to_string()))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| malformed(e.to_string()))?;
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
        if schema > SCHEMA {
            return Err(Error::Schema {
                path: path.to_owned(),
                got: schema,
                expected: SCHEMA,
            });
        }
        let manifest: Manifest =
            serde_json::from_str(manifest).map_err(|e| malformed(e.to_string()))?;
        let values = (0..manifest.shards.len())
            .map(|i| read_values(&tensors, i, &manifest.site).map_err(&malformed))
            .collect::<Result<_>>()?;
        Ok(Self { manifest, values })
    }

    /// The model as edited by this patch.
    ///
    /// # Errors
    /// [`Error::WrongModel`] if the patch was made for another model.
    pub fn snapshot(&self, model: Arc<Model>) -> Result<Snapshot> {
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
        let main: Vec<f32> = main.into_data().iter::<f32>().collect();
        let side = self
            .manifest
            .shards
            .iter()
            .zip(&self.values)
            .map(|(shard, values)| side_memory(&model, site, shard, values, &main))
            .collect::<Result<_>>()?;
        let memories = Memories {
            layer: site.layer,
            side,
        };
        Ok(Snapshot::new(model, &self.manifest.config, memories))
    }
}

fn tensor_name(shard: usize) -> String {
    format!("shard.{shard}.values")
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

fn read_values(tensors: &SafeTensors<'_>, shard: usize, site: &Site) -> Result<Vec<f32>, String> {
    let name = tensor_name(shard);
    let view = tensors
        .tensor(&name)
        .map_err(|_| format!("got no tensor {name}, expected one per shard"))?;
    if view.dtype() != Dtype::F32 {
        return Err(format!("tensor {name} is {:?}, expected F32", view.dtype()));
    }
    let full = site.shape[0].saturating_mul(site.shape[1]);
    let count = view.data().len() / 4;
    if count > full {
        return Err(format!(
            "tensor {name} has {count} values, expected at most {full}"
        ));
    }
    let values: Vec<f32> = view
        .data()
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    match values.iter().filter(|v| !v.is_finite()).count() {
        0 => Ok(values),
        bad => Err(format!(
            "tensor {name} holds {bad} values that are not finite, expected none"
        )),
    }
}

fn side_memory(
    model: &Model,
    site: &Site,
    shard: &Shard,
    values: &[f32],
    main: &[f32],
) -> Result<SideMemory> {
    let mask = MaskSeed {
        seed: shard.mask_seed,
        ratio: shard.mask_ratio,
    };
    let mut matrix = main.to_vec();
    if values.len() == main.len() {
        matrix.copy_from_slice(values);
    } else {
        mask.draw(main.len())?.scatter(values, &mut matrix)?;
    }
    Ok(SideMemory {
        matrix: Tensor::from_data(TensorData::new(matrix, site.shape), model.device()),
        mask,
        min_activation: shard.min_activation,
    })
}
