//! Sequences packed one behind the other, without padding.
//!
//! Linear layers see `[tokens, width]`; only attention needs rows side by side, and gathers them there.

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::cache::Past;
use crate::config::Config;
use crate::rope::{Angles, Rope};

/// One sequence of a packed forward pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Attention contributes nothing to this row, not even to itself: what a padding token goes through
    /// in a left-padded batch. Only the compatibility with editors that count padding needs it.
    pub isolated: bool,
}

impl From<Vec<u32>> for Row {
    fn from(tokens: Vec<u32>) -> Self {
        Self {
            tokens,
            isolated: false,
        }
    }
}

/// Where each row of a packed forward pass lies, with the index and mask tensors that attention needs.
#[derive(Debug, Clone)]
pub struct Layout {
    rows: Vec<Range<usize>>,
    /// Per row, see [`Row::isolated`].
    isolated: Vec<bool>,
    /// Per row, position of its first token in its sequence.
    first: Vec<usize>,
    /// All tokens. What attention looks at is always all of them.
    pub(crate) all: Queries,
}

/// The tokens that attention is computed for.
#[derive(Debug, Clone)]
pub(crate) struct Queries {
    /// `[queries]`: which packed tokens; `None` for all.
    chosen: Option<Tensor<1, Int>>,
    rows: usize,
    /// Most queries of a row.
    longest: usize,
    /// `[rows * longest]`: the query of each padded slot; `None` if one row, which needs no gathering.
    to_padded: Option<Tensor<1, Int>>,
    /// `[queries]`: the padded slot of each query.
    to_packed: Option<Tensor<1, Int>>,
    /// `[queries, 1]`: 0 on isolated rows, else 1.
    attends: Option<Tensor<2>>,
    global: View,
    local: Option<View>,
}

/// What queries see in the layers of one kind.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// `[1 or rows, 1, longest, keys]`: 0 where a query sees a key, else a large negative number.
    pub(crate) mask: Tensor<4>,
    /// Of the queries; `None` if heads are not rotated.
    pub(crate) angles: Option<Angles>,
}

/// How far layers see, and how they rotate what they see.
#[derive(Debug, Clone)]
pub(crate) struct Sights {
    global: Sight,
    local: Option<Sight>,
}

#[derive(Debug, Clone)]
struct Sight {
    window: Option<usize>,
    rope: Option<Rope>,
}

impl Sights {
    pub(crate) fn new(config: &Config) -> Self {
        let (window, width) = (config.sliding_window, config.rotary_dim);
        let rope = |theta, scaling| (width > 0).then(|| Rope::new(width, theta, scaling));
        let global = Sight {
            window: window.filter(|_| config.local.is_none()),
            rope: rope(config.rope_theta, config.rope_scaling),
        };
        let local = config.local.map(|layers| Sight {
            window,
            rope: rope(layers.rope_theta, None),
        });
        Self { global, local }
    }
}

impl Sight {
    fn view(&self, longest: usize, past: &[Past], positions: &[usize], device: &Device) -> View {
        View {
            mask: causal_mask(longest, past, self.window, device),
            angles: (self.rope.as_ref()).map(|rope| rope.angles(positions, device)),
        }
    }
}

impl View {
    fn on(&self, device: &Device) -> Self {
        Self {
            mask: self.mask.clone().to_device(device),
            angles: self.angles.as_ref().map(|angles| angles.on(device)),
        }
    }

    /// Of the queries `chosen`, which stand in the rows `lines` of the masks.
    fn select(&self, chosen: &Tensor<1, Int>, lines: &Tensor<1, Int>, rows: usize) -> Self {
        let [masks, _, height, keys] = self.mask.dims();
        let mask = self.mask.clone().reshape([masks * height, keys]);
        let longest = lines.dims()[0] / rows;
        Self {
            mask: mask
                .select(0, lines.clone())
                .reshape([rows, 1, longest, keys]),
            angles: self.angles.as_ref().map(|angles| angles.select(chosen)),
        }
    }
}

impl Layout {
    /// With a `past`, one per row, the rows continue sequences.
    pub(crate) fn new(
        rows: &[Row],
        past: Option<&[Past]>,
        sights: &Sights,
        device: &Device,
    ) -> Self {
        let lengths: Vec<usize> = rows.iter().map(|row| row.tokens.len()).collect();
        let isolated: Vec<bool> = rows.iter().map(|row| row.isolated).collect();
        Self::of(&lengths, isolated, past, sights, device)
    }

    /// The rows of several layouts one behind the other; all must begin their sequences.
    pub(crate) fn join(layouts: &[&Self], sights: &Sights, device: &Device) -> Self {
        let rows = || layouts.iter().flat_map(|layout| &layout.rows);
        let lengths: Vec<usize> = rows().map(Range::len).collect();
        let isolated = layouts.iter().flat_map(|l| l.isolated.clone()).collect();
        Self::of(&lengths, isolated, None, sights, device)
    }

    /// One row of a layout that begins its sequences, by itself.
    pub(crate) fn row(&self, row: usize, sights: &Sights, device: &Device) -> Self {
        let isolated = vec![self.isolated[row]];
        Self::of(&[self.rows[row].len()], isolated, None, sights, device)
    }

    fn of(
        lengths: &[usize],
        isolated: Vec<bool>,
        past: Option<&[Past]>,
        sights: &Sights,
        device: &Device,
    ) -> Self {
        let mut ranges = Vec::with_capacity(lengths.len());
        let mut end = 0;
        for length in lengths {
            ranges.push(end..end + length);
            end += length;
        }
        let longest = ranges.iter().map(Range::len).max().unwrap_or(0);
        let first: Vec<usize> = match past {
            Some(past) => past.iter().map(Past::tokens).collect(),
            None => vec![0; lengths.len()],
        };
        let positions = positions(&ranges, &first);
        let past = match past {
            Some(past) if past.iter().any(|past| !past.slots().is_empty()) => past,
            _ => &[Past::default()],
        };
        let view = |sight: &Sight| sight.view(longest, past, &positions, device);
        let several = ranges.len() > 1;
        let all = Queries {
            chosen: None,
            rows: ranges.len(),
            longest,
            to_padded: several.then(|| index(&padded_slots(&ranges, longest), device)),
            to_packed: several.then(|| index(&packed_slots(&ranges, longest), device)),
            attends: attends(&ranges, &isolated, device),
            global: view(&sights.global),
            local: sights.local.as_ref().map(view),
        };
        Self {
            isolated,
            rows: ranges,
            first,
            all,
        }
    }

    /// The packed tokens `at` as queries, row after row, each as often as it is named.
    pub(crate) fn queries(&self, at: &[usize], device: &Device) -> Queries {
        let row_of = |token: usize| self.rows.partition_point(|row| row.end <= token);
        let mut of_row = vec![Vec::new(); self.rows.len()];
        for (query, &token) in at.iter().enumerate() {
            of_row[row_of(token)].push(query);
        }
        let longest = of_row.iter().map(Vec::len).max().unwrap_or(0);
        let mut to_padded = vec![0; of_row.len() * longest];
        let mut to_packed = vec![0; at.len()];
        let mut positions = vec![0; of_row.len() * longest];
        for (row, queries) in of_row.iter().enumerate() {
            for (slot, &query) in (row * longest..).zip(queries) {
                to_padded[slot] = query as i32;
                to_packed[query] = slot as i32;
                positions[slot] = (at[query] - self.rows[row].start) as i32;
            }
        }
        let tokens: Vec<i32> = at.iter().map(|&token| token as i32).collect();
        let chosen = index(&tokens, device);
        let [masks, _, height, _] = self.all.global.mask.dims();
        if masks > 1 {
            for (slot, position) in positions.iter_mut().enumerate() {
                *position += (slot / longest * height) as i32;
            }
        }
        let lines = index(&positions, device);
        let view = |view: &View| view.select(&chosen, &lines, of_row.len());
        Queries {
            rows: of_row.len(),
            longest,
            to_padded: Some(index(&to_padded, device)),
            to_packed: Some(index(&to_packed, device)),
            attends: self
                .all
                .attends
                .clone()
                .map(|a| a.select(0, chosen.clone())),
            global: view(&self.all.global),
            local: self.all.local.as_ref().map(view),
            chosen: Some(chosen),
        }
    }

    /// The tokens of each row, as ranges over the packed tokens.
    pub fn rows(&self) -> &[Range<usize>] {
        &self.rows
    }

    /// Tokens of all rows together.
    pub fn tokens(&self) -> usize {
        self.rows.last().map_or(0, |row| row.end)
    }

    /// Where each packed token stands in its sequence.
    pub(crate) fn positions(&self) -> Vec<usize> {
        positions(&self.rows, &self.first)
    }

    /// The packed token of a row that stands at `position` of its sequence.
    pub(crate) fn token_at(&self, row: usize, position: usize) -> Option<usize> {
        let (tokens, offset) = (&self.rows[row], position.checked_sub(self.first[row])?);
        (offset < tokens.len()).then_some(tokens.start + offset)
    }
}

impl Queries {
    /// The same on a device.
    pub(crate) fn on(&self, device: &Device) -> Self {
        if self.global.mask.device() == *device {
            return self.clone();
        }
        let index = |x: &Option<Tensor<1, Int>>| x.clone().map(|x| x.to_device(device));
        Self {
            chosen: index(&self.chosen),
            rows: self.rows,
            longest: self.longest,
            to_padded: index(&self.to_padded),
            to_packed: index(&self.to_packed),
            attends: self.attends.clone().map(|x| x.to_device(device)),
            global: self.global.on(device),
            local: self.local.as_ref().map(|view| view.on(device)),
        }
    }

    /// What they see in the layers that see all tokens, or in the local ones.
    pub(crate) fn view(&self, local: bool) -> &View {
        match &self.local {
            Some(view) if local => view,
            _ => &self.global,
        }
    }

    /// Of `[tokens, width]`, the queries: `[queries, width]`.
    pub(crate) fn pick(&self, tokens: Tensor<2>) -> Tensor<2> {
        match &self.chosen {
            Some(chosen) => tokens.select(0, chosen.clone()),
            None => tokens,
        }
    }

    /// `[queries, width]` to `[rows, longest, width]`. Slots past a row's end hold some other token: among keys the
    /// causal mask hides them, among queries [`Self::pack`] drops them.
    pub(crate) fn pad(&self, packed: Tensor<2>) -> Tensor<3> {
        let width = packed.dims()[1];
        let padded = match &self.to_padded {
            Some(slots) => packed.select(0, slots.clone()),
            None => packed,
        };
        padded.reshape([self.rows, self.longest, width])
    }

    /// `[rows, longest, width]` to `[queries, width]`, with zeros on isolated rows.
    pub(crate) fn pack(&self, padded: Tensor<3>) -> Tensor<2> {
        let [rows, longest, width] = padded.dims();
        let flat = padded.reshape([rows * longest, width]);
        let packed = match &self.to_packed {
            Some(slots) => flat.select(0, slots.clone()),
            None => flat,
        };
        match &self.attends {
            Some(attends) => packed * attends.clone(),
            None => packed,
        }
    }
}

fn index(values: &[i32], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

fn positions(rows: &[Range<usize>], first: &[usize]) -> Vec<usize> {
    let begun = first.iter().zip(rows);
    begun
        .flat_map(|(&first, row)| first..first + row.len())
        .collect()
}

fn padded_slots(rows: &[Range<usize>], longest: usize) -> Vec<i32> {
    rows.iter()
        .flat_map(|row| (0..longest).map(|i| (row.start + i.min(row.len() - 1)) as i32))
        .collect()
}

fn packed_slots(rows: &[Range<usize>], longest: usize) -> Vec<i32> {
    rows.iter()
        .enumerate()
        .flat_map(|(r, row)| (0..row.len()).map(move |i| (r * longest + i) as i32))
        .collect()
}

/// `[past, 1, longest, slots + longest]`: `longest` new tokens look at what is cached and at those before them.
fn causal_mask(longest: usize, past: &[Past], window: Option<usize>, device: &Device) -> Tensor<4> {
    let window = window.unwrap_or(usize::MAX);
    let slots = past.first().map_or(0, |past| past.slots().len());
    let of_row = |past: &Past| {
        let first = past.tokens();
        let keys: Vec<Option<usize>> = (past.slots().iter().copied())
            .chain((first..first + longest).map(Some))
            .collect();
        (first..first + longest)
            .flat_map(move |query| keys.clone().into_iter().map(move |key| (query, key)))
            .map(|(query, key)| match key {
                Some(key) if key <= query && query - key < window => 0.0,
                _ => -1e30,
            })
            .collect::<Vec<f32>>()
    };
    let mask: Vec<f32> = past.iter().flat_map(of_row).collect();
    let shape = [past.len(), 1, longest, slots + longest];
    Tensor::from_data(TensorData::new(mask, shape), device)
}

fn attends(rows: &[Range<usize>], isolated: &[bool], device: &Device) -> Option<Tensor<2>> {
    if isolated.iter().all(|isolated| !isolated) {
        return None;
    }
    let flags: Vec<f32> = rows
        .iter()
        .zip(isolated)
        .flat_map(|(row, isolated)| row.clone().map(move |_| f32::from(u8::from(!isolated))))
        .collect();
    let len = flags.len();
    Some(Tensor::from_data(TensorData::new(flags, [len, 1]), device))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::KvCache;

    #[test]
    fn slots_map_back_and_forth() {
        let rows = [0..3, 3..4, 4..6];
        let padded = padded_slots(&rows, 3);
        let packed = packed_slots(&rows, 3);
        assert_eq!(padded, [0, 1, 2, 3, 3, 3, 4, 5, 5]);
        assert_eq!(packed, [0, 1, 2, 3, 6, 7]);
        for (token, &slot) in packed.iter().enumerate() {
            assert_eq!(padded[slot as usize], token as i32);
        }
    }

    #[test]
    fn the_window_hides_what_is_too_far_back() {
        let device = wise_tensor::DeviceName::Cpu.open().unwrap();
        let mut cache = KvCache::new(0, 1);
        cache.advance([2].into_iter());
        let mask: Vec<f32> = causal_mask(2, cache.past(), Some(2), &device)
            .into_data()
            .try_to_vec()
            .unwrap();
        let visible: Vec<bool> = mask.iter().map(|&m| m == 0.0).collect();
        // Queries 2 and 3, keys 0 to 3: each sees itself and one before.
        assert_eq!(
            visible,
            [false, true, true, false, false, false, true, true]
        );
    }

    #[test]
    fn empty_slots_are_hidden_and_each_sequence_has_its_own_positions() {
        let device = wise_tensor::DeviceName::Cpu.open().unwrap();
        let mut cache = KvCache::new(0, 2);
        cache.advance([3, 1].into_iter());
        let mask: Vec<f32> = causal_mask(1, cache.past(), Some(3), &device)
            .into_data()
            .try_to_vec()
            .unwrap();
        let visible: Vec<bool> = mask.iter().map(|&m| m == 0.0).collect();
        // The first sees itself and two before, the second itself and its only token.
        let expected = [false, true, true, true, true, false, false, true];
        assert_eq!(visible, expected);
    }
}
