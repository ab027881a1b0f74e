//! Prompts that take part in the router loss only: all that matters of them is what they bring to the edit site.

use std::ops::Range;

use burn::tensor::Tensor;
use wise_memory::Voters;
use wise_model::{EditSite, Model, Overlay, Prompt, PromptFormat, Row};

use crate::Result;
use crate::wise::rows::{Padding, matrix};
use crate::wise::trainer::vote;
use crate::wise::{Compatibility, WiseConfig};

/// A prompt at the edit site. No edit changes any of it.
#[derive(Debug, Clone)]
pub(crate) struct PromptAtSite {
    /// Inputs of the edited matrix at the tokens that vote on its route, `[tokens, ffn]`.
    inputs: Tensor<2>,
    /// What the main memory makes of them, `[tokens, hidden]`.
    main_output: Tensor<2>,
}

impl PromptAtSite {
    /// A prompt's tokens, and those that vote on its route.
    pub(crate) fn prompt(
        model: &Model,
        config: &WiseConfig,
        text: &str,
    ) -> Result<Prompt, wise_model::Error> {
        // The reference never puts its locality text into a chat template.
        let format = match config.compat {
            Compatibility::EasyEdit => PromptFormat::Raw,
            Compatibility::Wise | Compatibility::Paper => config.format_for(model),
        };
        let mut prompt = model.prompt(format, "", text)?;
        let (got, context) = (prompt.tokens.len(), model.config().context);
        if got > context {
            return Err(wise_model::Error::TooLong {
                what: "negative",
                got,
                context,
            });
        }
        if config.voters == Voters::All {
            prompt.scope = 0..prompt.tokens.len();
        }
        Ok(prompt)
    }

    /// Runs prompts up to the edit site, together.
    pub(crate) fn run(
        model: &Model,
        config: &WiseConfig,
        prompts: &[Prompt],
    ) -> Result<Vec<Self>, wise_model::Error> {
        let rows: Vec<Row> = prompts.iter().map(|p| p.tokens.clone().into()).collect();
        let site = model.prefix(&rows, config.layer_for(model), None)?;
        let main_output = model.site_output(&site, &Overlay::Main);
        let at_site = |(prompt, row): (&Prompt, &Range<usize>)| {
            let (start, end) = (prompt.scope.start, prompt.scope.end);
            Self::cut(&site, &main_output, row.start + start..row.start + end)
        };
        Ok(prompts
            .iter()
            .zip(site.layout.rows())
            .map(at_site)
            .collect())
    }

    /// A prompt that is part of a sequence at the edit site.
    pub(crate) fn within(model: &Model, site: &EditSite, voters: Range<usize>) -> Self {
        let main_output = model.site_output(site, &Overlay::Main);
        Self::cut(site, &main_output, voters)
    }

    fn cut(site: &EditSite, main_output: &Tensor<2>, voters: Range<usize>) -> Self {
        let of_voters = |x: &Tensor<2>| x.clone().narrow(0, voters.start, voters.len());
        Self {
            inputs: of_voters(&site.inputs),
            main_output: of_voters(main_output),
        }
    }

    pub(crate) fn tokens(&self) -> usize {
        self.inputs.dims()[0]
    }

    #[cfg(test)]
    pub(crate) fn main_output(&self) -> Vec<f32> {
        self.main_output.clone().into_data().iter().collect()
    }
}

/// Some prompts, packed one behind the other.
#[derive(Debug, Clone)]
pub(crate) struct PromptBatch {
    /// `[tokens, ffn]`.
    inputs: Tensor<2>,
    /// `[tokens, hidden]`.
    main_output: Tensor<2>,
    /// Share of each token in the activation of each prompt, `[prompts, tokens]`.
    votes: Tensor<2>,
    /// Share of padding in the activation of each prompt, `[prompts, 1]`, where padding counts.
    pub(crate) padding_votes: Option<Tensor<2>>,
}

impl PromptBatch {
    /// There must be at least one prompt.
    pub(crate) fn new(chosen: &[&PromptAtSite], padding: Option<Padding>) -> Self {
        let device = chosen[0].inputs.device();
        let total: usize = chosen.iter().map(|n| n.tokens()).sum();
        let mut start = 0;
        let votes: Vec<Vec<f32>> = chosen
            .iter()
            .map(|prompt| {
                let voters = padding.map_or(prompt.tokens(), |p| p.width);
                let mut row = vec![0.0; total];
                let end = start + prompt.tokens();
                row[start..end].fill(1.0 / voters as f32);
                start = end;
                row
            })
            .collect();
        let padding_votes = padding.map(|p| {
            let share = |n: &&PromptAtSite| {
                vec![p.width.saturating_sub(n.tokens()) as f32 / p.width as f32]
            };
            matrix(&chosen.iter().map(share).collect::<Vec<_>>(), &device)
        });
        let cat = |part: fn(&PromptAtSite) -> &Tensor<2>| {
            Tensor::cat(chosen.iter().map(|n| part(n).clone()).collect(), 0)
        };
        Self {
            inputs: cat(|n| &n.inputs),
            main_output: cat(|n| &n.main_output),
            votes: matrix(&votes, &device),
            padding_votes,
        }
    }

    pub(crate) fn tokens(&self) -> usize {
        self.inputs.dims()[0]
    }

    /// Routing activation of each prompt under a side memory (`[hidden, ffn]`), without padding's share.
    pub(crate) fn activations(&self, matrix: &Tensor<2>, config: &WiseConfig) -> Tensor<1> {
        let output = self.inputs.clone().matmul(matrix.clone().transpose());
        let distances = config.distance.between(&self.main_output, output);
        vote(&self.votes, distances, config.pooling)
    }
}
