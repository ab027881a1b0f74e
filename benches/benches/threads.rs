//! Whether a second thread is really used: matrix products at the shapes of one edit, and a whole
//! iteration of one, with one thread and with two.
//!
//! `cargo bench -p wise-benches --bench threads`
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use burn::tensor::{Tensor, TensorData};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rayon::ThreadPoolBuilder;
use wise_tensor::DeviceName;

/// Rows, inner size, columns: SmolLM2's projections at 264 tokens (11 context templates of 24), and its head
/// at 264 and at 44 label rows.
const SHAPES: [(&str, [usize; 3]); 6] = [
    ("up 264x576x1536", [264, 576, 1536]),
    ("down 264x1536x576", [264, 1536, 576]),
    ("qo 264x576x576", [264, 576, 576]),
    ("down gradient 576x264x1536", [576, 264, 1536]),
    ("head 264x576x49152", [264, 576, 49152]),
    ("head 44x576x49152", [44, 576, 49152]),
];

fn matrix(rows: usize, columns: usize) -> Tensor<2> {
    let device = DeviceName::Cpu.open().unwrap();
    let mut state = 7_u32;
    let values: Vec<f32> = (0..rows * columns)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 16_777_216.0 - 0.5
        })
        .collect();
    Tensor::from_data(TensorData::new(values, [rows, columns]), &device)
}

fn products(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("product with weights as stored [out, in]");
    group.sample_size(20);
    for (name, [rows, inner, columns]) in SHAPES {
        group.throughput(Throughput::Elements((2 * rows * inner * columns) as u64));
        let (x, weight) = (matrix(rows, inner), matrix(columns, inner));
        for threads in [1, 2] {
            let pool = ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let id = BenchmarkId::new(name, format!("{threads} threads"));
            group.bench_function(id, |bencher| {
                pool.install(|| {
                    bencher.iter(|| black_box(x.clone().matmul(weight.clone().transpose())));
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, products);
criterion_main!(benches);
