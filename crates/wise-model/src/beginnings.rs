//! Beginnings that many sequences share, run once for all of them.

use burn::tensor::Tensor;

use crate::cache::KvCache;
use crate::layout::Row;
use crate::{EditSite, Error, Model, Result};

/// Beginnings of sequences, run up to an edit site: context templates, or what a chat template puts before a message.
#[derive(Debug, Clone)]
pub struct Beginnings {
    tokens: Vec<Vec<u32>>,
    site: EditSite,
    cache: KvCache,
}

impl Model {
    /// Runs beginnings up to the input of layer `layer`'s value matrix; one may be empty.
    ///
    /// # Errors
    /// As [`Self::prefix`].
    pub fn beginnings(&self, tokens: Vec<Vec<u32>>, layer: usize) -> Result<Beginnings> {
        // Nothing of the token that stands in for an empty beginning is used.
        let rows: Vec<Row> = tokens
            .iter()
            .map(|tokens| {
                Row::from(if tokens.is_empty() {
                    vec![0]
                } else {
                    tokens.clone()
                })
            })
            .collect();
        let mut cache = self.new_cache(rows.len());
        let site = self.prefix(&rows, layer, Some(&mut cache))?;
        cache.advance(rows.iter().map(|row| row.tokens.len()));
        Ok(Beginnings {
            tokens,
            site,
            cache,
        })
    }

    /// [`Self::prefix`] of rows that begin as the beginnings do, each as far as it does; the rest is all that is run.
    ///
    /// # Errors
    /// As [`Self::prefix`], and [`Error::OtherSequences`] if there are not as many rows as beginnings.
    pub fn prefix_behind(&self, beginnings: &Beginnings, rows: &[Row]) -> Result<EditSite> {
        let (got, expected) = (rows.len(), beginnings.tokens.len());
        if got != expected {
            return Err(Error::OtherSequences { got, expected });
        }
        let begun = rows.iter().zip(&beginnings.tokens);
        let shared: Vec<usize> = begun
            .map(|(row, begin)| shared(&row.tokens, begin))
            .collect();
        let rest: Vec<Row> = rows
            .iter()
            .zip(&shared)
            .map(|(row, &shared)| Row {
                tokens: row.tokens[shared..].to_vec(),
                isolated: row.isolated,
            })
            .collect();
        let mut cache = beginnings.cache.clone();
        cache.cut(&shared);
        let layer = beginnings.site.layer;
        let site = self.prefix(&rest, layer, Some(&mut cache))?;
        let whole = |part: fn(&EditSite) -> &Tensor<2>| {
            let (begin, rest) = (part(&beginnings.site), part(&site));
            let begins = beginnings.site.layout.rows().iter().zip(&shared);
            let pieces = begins
                .zip(site.layout.rows())
                .flat_map(|((b, &shared), r)| {
                    let begin = (shared > 0).then(|| begin.clone().narrow(0, b.start, shared));
                    begin
                        .into_iter()
                        .chain([rest.clone().narrow(0, r.start, r.len())])
                });
            Tensor::cat(pieces.collect(), 0)
        };
        Ok(EditSite {
            layer,
            inputs: whole(|site| &site.inputs),
            residual: whole(|site| &site.residual),
            layout: self.layout(rows, &site.inputs.device()),
        })
    }
}

/// Tokens that a row has in common with its beginning; one is always left to run.
fn shared(row: &[u32], begin: &[u32]) -> usize {
    let same = row.iter().zip(begin).take_while(|(a, b)| a == b).count();
    same.min(row.len().saturating_sub(1))
}
