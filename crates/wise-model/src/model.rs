//! A loaded model, run in two halves around the matrix that an editor changes.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use burn::tensor::{Device, Tensor};
use sha2::{Digest, Sha256};
use tokenizers::Tokenizer;
use wise_tensor::{LabelLoss, Placement, Precision, is_cpu, label_loss, widened};

use crate::cache::{KvCache, Past};
use crate::decoder::{Decoder, Pass, on};
use crate::generate::argmax;
use crate::layout::{Layout, Queries, Row};
use crate::source::{ChatTemplate, LoadReport, ModelFiles};
use crate::weights::Weights;
use crate::{Config, Error, Overlay, Progress, Result, TensorSource};

/// Everything that enters the edited matrix, and the residual stream its output is added to.
///
/// Nothing in it depends on the edited matrix, so an editor computes it once.
#[derive(Debug, Clone)]
pub struct EditSite {
    /// Layer of the edited matrix.
    pub layer: usize,
    /// Activated neurons, `[tokens, ffn]`.
    pub inputs: Tensor<2>,
    /// Residual stream, `[tokens, hidden]`.
    pub residual: Tensor<2>,
    /// Where each row lies among the tokens.
    pub layout: Layout,
}

/// A decoder language model on one device, with its tokenizer.
pub struct Model {
    name: String,
    sha256: String,
    eos: Vec<u32>,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) chat: Option<ChatTemplate>,
    decoder: Decoder,
    precision: Precision,
    /// What the weights were rounded from; `None` if they were not.
    origin: Option<Mutex<Box<dyn TensorSource>>>,
}

impl Model {
    /// Opens `smollm2`, `gemma3-270m`, `hf:owner/name[@revision]`, a Hugging Face folder or a GGUF file; a device alone
    /// holds it in f32.
    ///
    /// # Errors
    /// Whatever keeps the model from being found, read or understood; see [`Error`].
    pub fn open(
        name: &str,
        placement: impl Into<Placement>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Self> {
        let files = crate::source::open(name, progress)?;
        Self::load(files, placement, progress)
    }

    /// Loads opened files onto a device.
    ///
    /// # Errors
    /// If the tensors do not fit the configuration, or hold values that are not finite.
    pub fn load(
        mut files: ModelFiles,
        placement: impl Into<Placement>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Self> {
        let placement = placement.into();
        LoadReport::check(&files.config, files.tensors.as_ref())?;
        check_tokens(&files.eos, &files.config)?;
        let chat = files.chat_template.as_ref().map(ChatTemplate::compile);
        let (tensors, converted) = (files.tensors.as_mut(), files.converted.as_deref());
        let precision = placement.precision;
        let weights = Weights::open(&files.config, tensors, converted, &placement, progress)?;
        let decoder = Decoder::load(files.config.clone(), &weights, &placement.devices)?;
        drop(weights);
        Ok(Self {
            name: files.name,
            sha256: files.sha256,
            eos: files.eos,
            tokenizer: files.tokenizer,
            chat,
            decoder,
            precision,
            origin: (precision != Precision::F32).then(|| Mutex::new(files.tensors)),
        })
    }

    /// The name the model was opened by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// sha256 of the weight files, in hexadecimal. Two files can hold the same model: see [`Self::id`].
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// What the model's own weights are held in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The model's facts.
    pub fn config(&self) -> &Config {
        &self.decoder.config
    }

    /// Where a layer's weights are, and its edit site.
    ///
    /// # Errors
    /// [`Error::LayerOutOfRange`].
    pub fn device_of(&self, layer: usize) -> Result<&Device> {
        self.check_layer(layer)?;
        Ok(&self.decoder.blocks[layer].device)
    }

    /// Where the first layer's weights are.
    pub fn device(&self) -> &Device {
        &self.decoder.blocks[0].device
    }

    /// Whether the processor computes every layer.
    pub fn is_on_cpu(&self) -> bool {
        self.decoder
            .blocks
            .iter()
            .all(|block| is_cpu(&block.device))
    }

    /// Tokens that end a generation; the first is the one an edit teaches.
    pub fn eos(&self) -> &[u32] {
        &self.eos
    }

    /// The FFN value matrix of a layer, `[hidden, ffn]`, as the main memory answers with it, in f32.
    ///
    /// # Errors
    /// [`Error::LayerOutOfRange`].
    pub fn site_weight(&self, layer: usize) -> Result<Tensor<2>> {
        self.check_layer(layer)?;
        Ok(widened(self.decoder.blocks[layer].down.weight.clone()))
    }

    /// What a patch of this layer's matrix names its model by: sha256 over the sizes in the configuration,
    /// the matrix and the final norm, as little-endian f32 in Hugging Face row order. A GGUF file and the
    /// Hugging Face folder made from it have the same id, in whatever precision they are held.
    ///
    /// # Errors
    /// [`Error::LayerOutOfRange`], or if the matrix cannot be read again.
    pub fn id(&self, layer: usize) -> Result<String> {
        let config = self.config();
        let mut hash = Sha256::new();
        hash.update(b"wise model id 1\n");
        for size in [
            config.vocab_size,
            config.hidden_size,
            config.ffn_size,
            config.layers,
            config.heads,
            config.kv_heads,
            config.head_dim,
            layer,
        ] {
            hash.update((size as u64).to_le_bytes());
        }
        // GGUF stores these two as f32.
        hash.update((config.norm_eps as f32).to_le_bytes());
        hash.update((config.rope_theta as f32).to_le_bytes());
        let matrix = self.unrounded_site_weight(layer)?;
        let norm = self.decoder.final_norm().into_data();
        for value in matrix.into_iter().chain(norm.iter::<f32>()) {
            hash.update(value.to_le_bytes());
        }
        Ok(crate::source::hex(&hash.finalize()))
    }

    /// [`Self::site_weight`] as the model's file has it, row by row.
    fn unrounded_site_weight(&self, layer: usize) -> Result<Vec<f32>> {
        let held = self.site_weight(layer)?;
        match &self.origin {
            None => Ok(held.into_data().iter::<f32>().collect()),
            Some(origin) => {
                let mut origin = origin.lock().unwrap_or_else(PoisonError::into_inner);
                origin.read(&Config::down_proj(layer))
            }
        }
    }

    /// An empty cache for some sequences.
    pub fn new_cache(&self, sequences: usize) -> KvCache {
        KvCache::new(self.config().layers, sequences)
    }

    /// Runs `rows` up to the input of layer `layer`'s value matrix. With a cache, each row continues the cached
    /// sequence in its place.
    ///
    /// # Errors
    /// [`Error::Empty`] without tokens, [`Error::TooLong`] past the context, [`Error::LayerOutOfRange`],
    /// [`Error::OtherSequences`] if there are not as many rows as the cache has sequences.
    pub fn prefix(
        &self,
        rows: &[Row],
        layer: usize,
        mut cache: Option<&mut KvCache>,
    ) -> Result<EditSite> {
        self.check_layer(layer)?;
        let past = cache.as_ref().map(|cache| cache.past());
        self.check_rows(rows, past)?;
        let config = self.config();
        let device = &self.decoder.blocks[layer].device;
        let layout = Layout::new(rows, past, &self.decoder.sights, device);
        let tokens: Vec<u32> = rows.iter().flat_map(|row| row.tokens.clone()).collect();
        let mut hidden = self.decoder.embed(&tokens, &layout);
        let mut all = layout.all.clone();
        for (index, block) in self.decoder.blocks[..layer].iter().enumerate() {
            (hidden, all) = (on(hidden, &block.device), all.on(&block.device));
            let cache = cache.as_deref_mut().map(|cache| (cache, index));
            hidden = block.forward(hidden, pass(config, &all), cache);
        }
        let (hidden, all) = (on(hidden, device), all.on(device));
        let cache = cache.map(|cache| (cache, layer));
        let (residual, inputs) =
            self.decoder.blocks[layer].before_down(hidden, pass(config, &all), cache);
        Ok(EditSite {
            layer,
            inputs,
            residual,
            layout,
        })
    }

    pub(crate) fn layout(&self, rows: &[Row], device: &Device) -> Layout {
        Layout::new(rows, None, &self.decoder.sights, device)
    }

    /// Several prefixes at one layer as if they had been run together, one behind the other; there must be one at
    /// least, and none may continue a cached sequence.
    pub fn join(&self, sites: &[&EditSite]) -> EditSite {
        let cat = |part: fn(&EditSite) -> &Tensor<2>| {
            Tensor::cat(sites.iter().map(|site| part(site).clone()).collect(), 0)
        };
        let layouts: Vec<&Layout> = sites.iter().map(|site| &site.layout).collect();
        let device = sites[0].inputs.device();
        EditSite {
            layer: sites[0].layer,
            inputs: cat(|site| &site.inputs),
            residual: cat(|site| &site.residual),
            layout: Layout::join(&layouts, &self.decoder.sights, &device),
        }
    }

    /// One row of a prefix as if it had been run alone; it must not continue a cached sequence.
    pub fn row(&self, site: &EditSite, row: usize) -> EditSite {
        let tokens = site.layout.rows()[row].clone();
        let cut = |x: &Tensor<2>| x.clone().narrow(0, tokens.start, tokens.len());
        EditSite {
            layer: site.layer,
            inputs: cut(&site.inputs),
            residual: cut(&site.residual),
            layout: site
                .layout
                .row(row, &self.decoder.sights, &site.inputs.device()),
        }
    }

    /// The edited matrix's output under an overlay, `[tokens, hidden]`.
    pub fn site_output(&self, site: &EditSite, overlay: &Overlay) -> Tensor<2> {
        match overlay {
            Overlay::Main | Overlay::Adapt(_) => self.decoder.blocks[site.layer]
                .down
                .exactly(site.inputs.clone()),
            Overlay::Replace(matrix) => site.inputs.clone().matmul(matrix.clone().transpose()),
            Overlay::Output { .. } => {
                let main = self.site_output(site, &Overlay::Main);
                let rows = 0..site.layout.rows().len();
                rows.fold(main, |output, row| with_row(output, site, row, overlay))
            }
        }
    }

    /// [`Self::site_output`] with an overlay for each row of the site.
    ///
    /// # Errors
    /// [`Error::OtherSequences`] if there are not as many overlays as rows, [`Error::OtherAdapters`] if they differ
    /// above the edit site.
    pub fn site_output_by_row(&self, site: &EditSite, overlays: &[Overlay]) -> Result<Tensor<2>> {
        let (got, expected) = (overlays.len(), site.layout.rows().len());
        if got != expected {
            return Err(Error::OtherSequences { got, expected });
        }
        if !overlays.windows(2).all(|pair| pair[0].same_above(&pair[1])) {
            return Err(Error::OtherAdapters);
        }
        if let [only] = overlays {
            return Ok(self.site_output(site, only));
        }
        let main = self.site_output(site, &Overlay::Main);
        let overlays = overlays.iter().enumerate();
        Ok(overlays.fold(main, |output, (row, overlay)| {
            with_row(output, site, row, overlay)
        }))
    }

    /// The residual stream behind the edited matrix's block, given the matrix's output; all `[tokens, hidden]`.
    pub fn after_site(&self, site: &EditSite, output: Tensor<2>) -> Tensor<2> {
        self.decoder.blocks[site.layer].after_down(site.residual.clone(), output)
    }

    /// Runs from the edited matrix's output under an overlay (`[tokens, hidden]`) to the logits after the
    /// packed tokens `at` (`[at, vocabulary]`), and nowhere else.
    pub fn suffix(
        &self,
        site: &EditSite,
        output: Tensor<2>,
        overlay: &Overlay,
        at: &[usize],
        cache: Option<&mut KvCache>,
    ) -> Tensor<2> {
        let hidden = self.final_hidden(site, output, overlay, at, cache);
        self.decoder.head().logits(hidden)
    }

    /// Runs from the edited matrix's output under an overlay (`[tokens, hidden]`) to the loss of `labels`, each
    /// predicted after one of the packed tokens `at`, with their `weights`.
    pub fn label_loss(
        &self,
        site: &EditSite,
        output: Tensor<2>,
        overlay: &Overlay,
        at: &[usize],
        labels: &[u32],
        weights: &[f32],
    ) -> LabelLoss {
        let hidden = self.final_hidden(site, output, overlay, at, None);
        label_loss(hidden, self.decoder.head(), labels, weights)
    }

    /// The likeliest token after each of the packed tokens `at`, and the negative log-likelihood of `labels` there, in
    /// nats. Only a few tokens' logits are in memory at a time.
    pub fn predictions(
        &self,
        site: &EditSite,
        output: Tensor<2>,
        overlay: &Overlay,
        at: &[usize],
        labels: &[u32],
    ) -> Vec<(u32, f32)> {
        const TOGETHER: usize = 64;
        let hidden = self.final_hidden(site, output, overlay, at, None);
        let head = self.decoder.head();
        let of_chunk = |(chunk, labels): (usize, &[u32])| {
            let some = hidden.clone().narrow(0, chunk * TOGETHER, labels.len());
            let logits = head.logits(some).into_data();
            let logits: Vec<f32> = logits.iter::<f32>().collect();
            let rows = logits.chunks(self.config().vocab_size).zip(labels);
            rows.map(|(logits, &label)| (argmax(logits), nll_of(logits, label)))
                .collect::<Vec<_>>()
        };
        let chunks = labels.chunks(TOGETHER).enumerate();
        chunks.flat_map(of_chunk).collect()
    }

    /// What the head sees at the packed tokens `at`, `[at, hidden]`. In the last layer only they are computed.
    fn final_hidden(
        &self,
        site: &EditSite,
        output: Tensor<2>,
        overlay: &Overlay,
        at: &[usize],
        mut cache: Option<&mut KvCache>,
    ) -> Tensor<2> {
        let (all, layers) = (&site.layout.all, self.config().layers);
        let everywhere = at.iter().copied().eq(0..site.layout.tokens());
        let device = site.inputs.device();
        let chosen = (!everywhere).then(|| site.layout.queries(at, &device));
        let chosen = chosen.as_ref().unwrap_or(all);
        let (mut all, mut chosen) = (all.clone(), chosen.clone());
        let mut hidden = self.after_site(site, output);
        if site.layer + 1 == layers {
            hidden = chosen.pick(hidden);
        }
        for (index, block) in self.decoder.blocks.iter().enumerate().skip(site.layer + 1) {
            let cache = cache.as_deref_mut().map(|cache| (cache, index));
            let device = &block.device;
            (all, chosen) = (all.on(device), chosen.on(device));
            hidden = on(hidden, device);
            let pass = Pass {
                shape: self.config(),
                all: &all,
                queries: if index + 1 == layers { &chosen } else { &all },
                adapter: overlay.adapter(index),
            };
            hidden = block.forward(hidden, pass, cache);
        }
        if let Some(cache) = cache {
            cache.advance(site.layout.rows().iter().map(ExactSizeIterator::len));
        }
        self.decoder.normed(hidden)
    }

    /// Logits after the packed tokens `at` under an overlay: prefix, then suffix.
    ///
    /// # Errors
    /// As [`Self::prefix`].
    pub fn logits(
        &self,
        rows: &[Row],
        layer: usize,
        overlay: &Overlay,
        at: &[usize],
    ) -> Result<Tensor<2>> {
        let site = self.prefix(rows, layer, None)?;
        let output = self.site_output(&site, overlay);
        Ok(self.suffix(&site, output, overlay, at, None))
    }

    fn check_layer(&self, layer: usize) -> Result<()> {
        let layers = self.config().layers;
        if layer < layers {
            Ok(())
        } else {
            Err(Error::LayerOutOfRange { got: layer, layers })
        }
    }

    fn check_rows(&self, rows: &[Row], past: Option<&[Past]>) -> Result<()> {
        let context = self.config().context;
        if rows.is_empty() || rows.iter().any(|row| row.tokens.is_empty()) {
            return Err(Error::Empty { what: "sequence" });
        }
        if let Some(past) = past.filter(|past| past.len() != rows.len()) {
            return Err(Error::OtherSequences {
                got: rows.len(),
                expected: past.len(),
            });
        }
        for (index, row) in rows.iter().enumerate() {
            check_tokens(&row.tokens, self.config())?;
            let got = past.map_or(0, |past| past[index].tokens()) + row.tokens.len();
            if got > context {
                return Err(Error::TooLong {
                    what: "sequence",
                    got,
                    context,
                });
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("name", &self.name)
            .field("sha256", &self.sha256)
            .finish_non_exhaustive()
    }
}

/// A pass that the outputs of all tokens are wanted of.
fn pass<'a>(shape: &'a Config, all: &'a Queries) -> Pass<'a> {
    Pass {
        shape,
        all,
        queries: all,
        adapter: None,
    }
}

/// The main memory's `output` (`[tokens, hidden]`) with an overlay's on one row.
fn with_row(output: Tensor<2>, site: &EditSite, row: usize, overlay: &Overlay) -> Tensor<2> {
    let (tokens, width) = (site.layout.rows()[row].clone(), output.dims()[1]);
    match overlay {
        Overlay::Main | Overlay::Adapt(_) => output,
        Overlay::Replace(matrix) => {
            let inputs = site.inputs.clone().narrow(0, tokens.start, tokens.len());
            let replaced = inputs.matmul(matrix.clone().transpose());
            output.slice_assign([tokens, 0..width], replaced)
        }
        Overlay::Output { position, value } => match site.layout.token_at(row, *position) {
            Some(token) => {
                let value = value.clone().unsqueeze::<2>();
                output.slice_assign([token..token + 1, 0..width], value)
            }
            None => output,
        },
    }
}

fn nll_of(logits: &[f32], token: u32) -> f32 {
    let peak = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&l| f64::from((l - peak).exp())).sum();
    (sum.ln() - f64::from(logits[token as usize] - peak)) as f32
}

fn check_tokens(tokens: &[u32], config: &Config) -> Result<()> {
    let vocab_size = config.vocab_size;
    match tokens.iter().find(|&&token| token as usize >= vocab_size) {
        Some(&got) => Err(Error::TokenOutOfRange { got, vocab_size }),
        None => Ok(()),
    }
}
