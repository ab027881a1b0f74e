//! A direction in four bits a coordinate.

/// Largest size of a coordinate.
const LARGEST: f32 = 7.0;

/// The direction of a vector, an even number of coordinates.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Direction<const WIDTH: usize> {
    /// -7 to 7.
    coordinates: [i8; WIDTH],
    length: f32,
}

impl<const WIDTH: usize> Direction<WIDTH> {
    pub(super) const WIDTH: usize = WIDTH;

    /// Bytes of one.
    pub(super) const BYTES: usize = WIDTH / 2;

    /// The direction of `vector`, of which what it lacks to `WIDTH` is 0.
    pub(super) fn of(vector: &[f32]) -> Self {
        let largest = vector
            .iter()
            .fold(f32::MIN_POSITIVE, |most, x| most.max(x.abs()));
        let coordinate = |i| {
            let of: Option<&f32> = vector.get(i);
            of.map_or(0, |x| (x / largest * LARGEST).round() as i8)
        };
        Self::new(std::array::from_fn(coordinate))
    }

    fn new(coordinates: [i8; WIDTH]) -> Self {
        let squares: i32 = coordinates.iter().map(|&x| i32::from(x).pow(2)).sum();
        Self {
            coordinates,
            length: (squares.max(1) as f32).sqrt(),
        }
    }

    pub(super) fn cosine(&self, other: &Self) -> f32 {
        let pairs = self.coordinates.iter().zip(&other.coordinates);
        let product: i32 = pairs
            .map(|(&a, &b)| i32::from(i16::from(a) * i16::from(b)))
            .sum();
        product as f32 / (self.length * other.length)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let half = |x: i8| (x + 8) as u8;
        let pairs = self.coordinates.chunks_exact(2);
        pairs
            .map(|pair| half(pair[0]) << 4 | half(pair[1]))
            .collect()
    }

    /// From [`Self::BYTES`] bytes; what they lack is 0.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let coordinate = |i: usize| {
            let byte = bytes.get(i / 2).copied().unwrap_or(0x88);
            let half = if i.is_multiple_of(2) {
                byte >> 4
            } else {
                byte & 15
            };
            half as i8 - 8
        };
        Self::new(std::array::from_fn(coordinate))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WIDTH: usize = 64;

    fn vectors() -> impl Strategy<Value = Vec<f32>> {
        prop::collection::vec(-3.0f32..3.0, WIDTH)
    }

    fn exact(a: &[f32], b: &[f32]) -> f32 {
        let product = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(x, y)| x * y).sum() };
        product(a, b) / (product(a, a) * product(b, b)).sqrt()
    }

    proptest! {
        #[test]
        fn a_coordinate_is_at_most_half_a_step_off(a in vectors()) {
            let step = a.iter().fold(0.0f32, |most, x| most.max(x.abs())) / LARGEST;
            for (x, coordinate) in a.iter().zip(Direction::<WIDTH>::of(&a).coordinates) {
                prop_assert!((x - f32::from(coordinate) * step).abs() <= step * 0.5001);
            }
        }

        // One pair in some 18 000 is off by more than 0.05, so a bound on each fails by chance; this one on the mean
        // is twelve standard deviations away.
        #[test]
        fn cosines_are_those_of_the_vectors(pairs in prop::collection::vec((vectors(), vectors()), 32)) {
            let off = |(a, b): &(Vec<f32>, Vec<f32>)| {
                Direction::<WIDTH>::of(a).cosine(&Direction::<WIDTH>::of(b)) - exact(a, b)
            };
            let squares: f32 = pairs.iter().map(|pair| off(pair).powi(2)).sum();
            prop_assert!((squares / pairs.len() as f32).sqrt() < 0.03);
        }

        #[test]
        fn the_length_of_a_vector_does_not_count(a in vectors(), factor in 0.1f32..10.0) {
            let longer: Vec<f32> = a.iter().map(|x| x * factor).collect();
            prop_assert!(Direction::<WIDTH>::of(&a).cosine(&Direction::<WIDTH>::of(&longer)) > 0.99);
        }

        #[test]
        fn bytes_hold_a_direction(a in vectors()) {
            let direction = Direction::<WIDTH>::of(&a);
            prop_assert_eq!(Direction::from_bytes(&direction.to_bytes()), direction);
        }
    }

    #[test]
    fn zeros_are_like_nothing() {
        assert_eq!(
            Direction::<WIDTH>::of(&[0.0; 3]).cosine(&Direction::<WIDTH>::of(&[1.0])),
            0.0
        );
    }
}
