//! A log-bilinear language model over bytes: the last three bytes, each by a table of its own for its place, sum up to
//! a small vector that scores every next byte.
//!
//! All sums are taken in one order on one thread, and randomness is a function of seed and step, so a training can be
//! repeated, and resumed from its parameters alone.

use super::Problem;

/// Ends an example, and stands for what is before a text.
pub(super) const END: u8 = 0;
const CONTEXT: usize = 3;
const DIMENSION: usize = 8;
const BYTES: usize = 256;

const TABLES: usize = CONTEXT * BYTES * DIMENSION;
const SCORES: usize = BYTES * DIMENSION;
const PARAMETERS: usize = TABLES + SCORES + BYTES;

/// Positions that an evaluation looks at.
const EVALUATED: usize = 2000;

/// Tables, then score vectors, then biases, in one row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Model(Vec<f32>);

/// What one position says about the parameters.
struct Forward {
    hidden: [f32; DIMENSION],
    /// The probability of each next byte.
    next: [f32; BYTES],
}

impl Model {
    pub(super) fn fresh(seed: u64) -> Self {
        let mut parameters: Vec<f32> = (0..PARAMETERS as u64)
            .map(|at| (unit(mix(seed, u64::MAX, at)) - 0.5) * 0.2)
            .collect();
        parameters[TABLES + SCORES..].fill(0.0);
        Self(parameters)
    }

    /// One step of gradient descent on `batch` positions of `text`; returns the mean loss before it, in nats a byte.
    pub(super) fn step(&mut self, text: &[u8], batch: u64, rate: f32, seed: u64, step: u64) -> f64 {
        let mut gradient = vec![0.0; PARAMETERS];
        let mut loss = 0.0;
        for sample in 0..batch {
            let at = position(mix(seed, step, sample), text.len());
            loss += self.add_gradient(text, at, &mut gradient);
        }
        let scale = rate / as_f32(batch);
        for (parameter, slope) in self.0.iter_mut().zip(&gradient) {
            *parameter -= scale * slope;
        }
        loss / f64::from(as_f32(batch))
    }

    /// The mean loss over positions spread evenly over `text`.
    pub(super) fn evaluate(&self, text: &[u8]) -> f64 {
        let stride = text.len().div_ceil(EVALUATED).max(1);
        let losses: Vec<f64> = (0..text.len())
            .step_by(stride)
            .map(|at| loss(self.forward(text, at).next[usize::from(text[at])]))
            .collect();
        losses.iter().sum::<f64>() / f64::from(as_f32(losses.len() as u64))
    }

    /// Every parameter as four bytes, little end first, in hexadecimal.
    pub(super) fn to_hex(&self) -> String {
        let bytes: Vec<u8> = self
            .0
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        hex::encode(bytes)
    }

    pub(super) fn from_hex(text: &str) -> Result<Self, Problem> {
        let bytes = hex::decode(text)
            .map_err(|error| Problem(format!("the checkpoint is damaged: {error}")))?;
        let parameters: Vec<f32> = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|value| f32::from_le_bytes(*value))
            .collect();
        if parameters.len() == PARAMETERS && bytes.len() == PARAMETERS * 4 {
            return Ok(Self(parameters));
        }
        Err(Problem(format!(
            "the checkpoint has {} parameters, and this model has {PARAMETERS}",
            parameters.len()
        )))
    }

    fn add_gradient(&self, text: &[u8], at: usize, gradient: &mut [f32]) -> f64 {
        let Forward { hidden, next } = self.forward(text, at);
        let target = usize::from(text[at]);
        let mut into_hidden = [0.0; DIMENSION];
        for byte in 0..BYTES {
            let slope = next[byte] - f32::from(u8::from(byte == target));
            let row = TABLES + byte * DIMENSION;
            for axis in 0..DIMENSION {
                into_hidden[axis] += slope * self.0[row + axis];
                gradient[row + axis] += slope * hidden[axis];
            }
            gradient[TABLES + SCORES + byte] += slope;
        }
        for place in 0..CONTEXT {
            let row = table_row(text, at, place);
            for axis in 0..DIMENSION {
                gradient[row + axis] += into_hidden[axis];
            }
        }
        loss(next[target])
    }

    fn forward(&self, text: &[u8], at: usize) -> Forward {
        let mut hidden = [0.0; DIMENSION];
        for place in 0..CONTEXT {
            let row = table_row(text, at, place);
            let vector = &self.0[row..row + DIMENSION];
            for (sum, value) in hidden.iter_mut().zip(vector) {
                *sum += value;
            }
        }
        let mut next = [0.0; BYTES];
        for (byte, score) in next.iter_mut().enumerate() {
            let row = TABLES + byte * DIMENSION;
            let vector = &self.0[row..row + DIMENSION];
            let product: f32 = vector.iter().zip(&hidden).map(|(a, b)| a * b).sum();
            *score = product + self.0[TABLES + SCORES + byte];
        }
        let highest = next.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut total = 0.0;
        for score in &mut next {
            *score = (*score - highest).exp();
            total += *score;
        }
        for score in &mut next {
            *score /= total;
        }
        Forward { hidden, next }
    }
}

/// Where the vector of the byte `place + 1` before `at` begins.
fn table_row(text: &[u8], at: usize, place: usize) -> usize {
    let byte = at.checked_sub(place + 1).map_or(END, |before| text[before]);
    (place * BYTES + usize::from(byte)) * DIMENSION
}

fn loss(probability: f32) -> f64 {
    -f64::from(probability.max(f32::MIN_POSITIVE)).ln()
}

/// A number that depends on all three and looks random: the finalizer of `SplitMix64` over their sum.
fn mix(seed: u64, step: u64, sample: u64) -> u64 {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let stir = |value: u64| {
        let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ (value >> 31)
    };
    let first = stir(seed.wrapping_add(GOLDEN));
    let second = stir(first.wrapping_add(step.wrapping_mul(GOLDEN)));
    stir(second.wrapping_add(sample.wrapping_add(1).wrapping_mul(GOLDEN)))
}

/// 0 to 1, from the highest 24 bits.
#[expect(clippy::cast_precision_loss, reason = "24 bits are exact in an f32")]
fn unit(random: u64) -> f32 {
    (random >> 40) as f32 / 16_777_216.0
}

/// An index below `length`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the product's high half is below the length, which is a usize"
)]
fn position(random: u64, length: usize) -> usize {
    ((u128::from(random) * length as u128) >> 64) as usize
}

#[expect(
    clippy::cast_precision_loss,
    reason = "batches and evaluations have some thousand positions"
)]
fn as_f32(count: u64) -> f32 {
    count as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"the cat sat on the mat and the dog sat on the log\0";

    #[test]
    fn the_loss_falls_from_that_of_a_guess() {
        let mut model = Model::fresh(1);
        let before = model.evaluate(TEXT);
        assert!((before - 256_f64.ln()).abs() < 0.1, "{before}");
        for step in 0..300 {
            model.step(TEXT, 16, 0.5, 1, step);
        }
        let after = model.evaluate(TEXT);
        assert!(after < before / 2.0, "{before} -> {after}");
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let mut model = Model::fresh(3);
        let mut gradient = vec![0.0; PARAMETERS];
        model.add_gradient(TEXT, 5, &mut gradient);
        let probes = [
            table_row(TEXT, 5, 0),
            table_row(TEXT, 5, 2) + 3,
            TABLES + 8 * 97 + 1,
            TABLES + SCORES + 104,
        ];
        for at in probes {
            let kept = model.0[at];
            let mut shifted = |by: f32| {
                model.0[at] = kept + by;
                let found = loss(model.forward(TEXT, 5).next[usize::from(TEXT[5])]);
                model.0[at] = kept;
                found
            };
            let slope = (shifted(0.01) - shifted(-0.01)) / 0.02;
            let counted = f64::from(gradient[at]);
            assert!(
                (slope - counted).abs() < 1e-3,
                "{at}: {slope} and {counted}"
            );
        }
    }

    #[test]
    fn parameters_survive_as_text() {
        let model = Model::fresh(7);
        assert_eq!(Model::from_hex(&model.to_hex()).unwrap(), model);
        assert!(Model::from_hex("00").is_err());
        assert!(Model::from_hex("xy").is_err());
    }
}
