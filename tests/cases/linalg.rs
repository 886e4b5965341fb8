//! Linear algebra by its definitions: what is solved is multiplied back, and determinants are sums over permutations. The
//! gradients are compared with differences, and so check the rest.

use super::{Array, Case, numbers};
use kiln_autograd::ops::*;
use kiln_autograd::{DType, Tape, Tensor, Var, gradients};

/// Matrices with an inverse that is not large.
fn regular(dims: &[usize], seed: u64) -> Tensor {
    let n = dims[dims.len() - 1];
    numbers(dims, seed).add(&unit(n).mul(4.0).unwrap()).unwrap()
}

fn unit(n: usize) -> Tensor {
    Tensor::eye(n, n).unwrap().cast(DType::F64).unwrap()
}

/// The matrices of a batch and their sizes.
fn matrices(x: &Array) -> (usize, usize, Vec<&[f64]>) {
    let [m, n] = [x.dims[x.dims.len() - 2], x.dims[x.dims.len() - 1]];
    (m, n, if m * n == 0 { vec![] } else { x.values.chunks(m * n).collect() })
}

fn minor(n: usize, a: &[f64], row: usize, column: usize) -> Vec<f64> {
    (0..n * n).filter(|at| at / n != row && at % n != column).map(|at| a[at]).collect()
}

/// Laplace's expansion.
fn det(n: usize, a: &[f64]) -> f64 {
    if n == 0 {
        return 1.0;
    }
    (0..n).map(|j| if j.is_multiple_of(2) { 1.0 } else { -1.0 } * a[j] * det(n - 1, &minor(n, a, 0, j))).sum()
}

/// By the matrix of cofactors.
fn inverse(n: usize, a: &[f64]) -> Vec<f64> {
    let whole = det(n, a);
    let cofactor =
        |i: usize, j: usize| if (i + j).is_multiple_of(2) { 1.0 } else { -1.0 } * det(n - 1, &minor(n, a, j, i));
    (0..n * n).map(|at| cofactor(at / n, at % n) / whole).collect()
}

fn inverses(x: &Array) -> Array {
    let (n, _, all) = matrices(x);
    Array { dims: x.dims.clone(), values: all.iter().flat_map(|a| inverse(n, a)).collect() }
}

fn dets(x: &Array) -> Array {
    let (n, _, all) = matrices(x);
    Array { dims: x.dims[..x.dims.len() - 2].to_vec(), values: all.iter().map(|a| det(n, a)).collect() }
}

/// Products of batches of the same shape.
fn product(a: &Array, b: &Array) -> Array {
    let (rank, k) = (a.dims.len(), a.dims[a.dims.len() - 1]);
    let dims = [&a.dims[..rank - 1], &[b.dims[rank - 1]]].concat();
    Array::build(&dims, |at| {
        let (lead, i, j) = (&at[..rank - 2], at[rank - 2], at[rank - 1]);
        (0..k).map(|k| a.at(&[lead, &[i, k]].concat()) * b.at(&[lead, &[k, j]].concat())).sum()
    })
}

/// `x · xᵀ + 2`, for what must be symmetric.
fn positive(x: &Var) -> kiln_autograd::Result<Var> {
    let n = x.shape()[x.shape().rank() - 1];
    let twice = x.beside(unit(n).cast(x.dtype())?.mul(2.0)?)?;
    x.matmul(&x.transpose(-1, -2)?)?.add(&twice)
}

fn equations() -> Vec<Case> {
    let solve = |shapes: [&[usize]; 2]| {
        let inputs = vec![regular(shapes[0], 1), numbers(shapes[1], 2)];
        Case::new(format!("solve {shapes:?}"), inputs, |x| x[0].solve(&x[1])).slack(64.0)
    };
    let vector = |x: &[Array]| {
        let column = Array { dims: [&x[1].dims[..], &[1]].concat(), values: x[1].values.clone() };
        Array { dims: x[1].dims.clone(), values: product(&inverses(&x[0]), &column).values }
    };
    let mut all = vec![
        solve([&[3, 3], &[3, 2]]).reference(|x| product(&inverses(&x[0]), &x[1])),
        solve([&[2, 2, 3, 3], &[2, 2, 3, 4]]).reference(|x| product(&inverses(&x[0]), &x[1])),
        solve([&[4, 4], &[4]]).reference(vector),
        solve([&[2, 3, 3], &[2, 3]]).reference(vector),
        solve([&[1, 3, 3], &[2, 3, 2]]),
        solve([&[3, 3], &[2, 3, 2]]),
        solve([&[0, 0], &[0, 2]]),
        solve([&[2, 2], &[2, 0]]),
        solve([&[0, 2, 2], &[0, 2, 1]]),
        Case::new("inv [3, 3]", vec![regular(&[3, 3], 3)], |x| x[0].inv()).slack(64.0).reference(|x| inverses(&x[0])),
        Case::new("inv [2, 1, 2, 2]", vec![regular(&[2, 1, 2, 2], 3)], |x| x[0].inv())
            .slack(64.0)
            .reference(|x| inverses(&x[0])),
        Case::new("solve with itself", vec![regular(&[3, 3], 5)], |x| x[0].solve(&x[0].mul(&x[0])?)).slack(64.0),
    ];
    for triangle in [Triangle::Lower, Triangle::Upper] {
        for unit_diagonal in [false, true] {
            let only = move |x: &Array| {
                Array::build(&x.dims, |at| {
                    let [i, j] = [at[at.len() - 2], at[at.len() - 1]];
                    let inside = if triangle == Triangle::Lower { i > j } else { i < j };
                    if i == j && unit_diagonal {
                        1.0
                    } else if i == j || inside {
                        x.at(at)
                    } else {
                        0.0
                    }
                })
            };
            let inputs = vec![regular(&[2, 3, 3], 7), numbers(&[2, 3, 2], 8)];
            let f = move |x: &[Var]| x[0].solve_triangular(&x[1], triangle, unit_diagonal);
            let case = Case::new(format!("solve_triangular {triangle:?} {unit_diagonal}"), inputs, f);
            all.push(case.slack(64.0).reference(move |x| product(&inverses(&only(&x[0])), &x[1])));
        }
    }
    all
}

fn determinants() -> Vec<Case> {
    let mut all = Vec::new();
    for dims in [&[3, 3][..], &[2, 4, 4], &[1, 1], &[0, 0], &[0, 2, 2]] {
        let case = Case::new(format!("det {dims:?}"), vec![numbers(dims, 4)], |x| x[0].det()).slack(64.0);
        all.push(if dims == [0, 0] { case } else { case.reference(|x| dets(&x[0])) });
        let case = Case::many(format!("slogdet {dims:?}"), vec![numbers(dims, 4)], |x| {
            x[0].slogdet().map(|(sign, log)| vec![sign, log])
        });
        let reference = |x: &[Array]| vec![dets(&x[0]).map(f64::signum), dets(&x[0]).map(|d| d.abs().ln())];
        // Half precision may round the sign of a small one away.
        all.push(if dims == [0, 0] { case } else { case.slack(1024.0).wide_only().references(reference) });
    }
    all
}

fn decompositions() -> Vec<Case> {
    let mut all = Vec::new();
    for dims in [&[3, 3][..], &[2, 3, 3], &[1, 1], &[0, 0]] {
        for triangle in [Triangle::Lower, Triangle::Upper] {
            let f = move |x: &[Var]| positive(&x[0])?.cholesky(triangle);
            all.push(Case::new(format!("cholesky {triangle:?} {dims:?}"), vec![numbers(dims, 6)], f).slack(64.0));
        }
        let f = |x: &[Var]| {
            let (values, vectors) = positive(&x[0])?.eigh()?;
            Ok(vec![values, vectors])
        };
        all.push(Case::many(format!("eigh {dims:?}"), vec![numbers(dims, 6)], f).wide_only());
    }
    for dims in [&[3, 3][..], &[4, 2], &[2, 4], &[2, 3, 2], &[2, 2, 3], &[3, 1], &[0, 2], &[2, 0]] {
        let x = vec![numbers(dims, 11)];
        all.push(Case::many(format!("qr {dims:?}"), x.clone(), |x| x[0].qr().map(|(q, r)| vec![q, r])).wide_only());
        let f = |x: &[Var]| x[0].svd().map(|(u, s, v)| vec![u, s, v]);
        all.push(Case::many(format!("svd {dims:?}"), x.clone(), f).wide_only());
        all.push(Case::new(format!("pinv {dims:?}"), x.clone(), |x| x[0].pinv(None)).slack(256.0).wide_only());
        let b = numbers(&[&dims[..dims.len() - 1], &[2]].concat(), 12);
        all.push(Case::new(format!("lstsq {dims:?}"), vec![x[0].clone(), b], |x| x[0].lstsq(&x[1])).wide_only());
    }
    all
}

fn norms() -> Vec<Case> {
    let mut all = Vec::new();
    let orders = [1.0, -1.0, 2.0, -2.0, f64::INFINITY, f64::NEG_INFINITY].map(MatrixNorm::Order);
    for norm in orders.into_iter().chain([MatrixNorm::Frobenius, MatrixNorm::Nuclear]) {
        for keep_dims in [false, true] {
            let f = move |x: &[Var]| x[0].matrix_norm(norm, keep_dims);
            all.push(
                Case::new(format!("matrix_norm {norm:?} {keep_dims}"), vec![numbers(&[2, 3, 2], 13)], f).slack(64.0),
            );
        }
    }
    for norm in [1.0, 2.0, -2.0].map(MatrixNorm::Order).into_iter().chain([MatrixNorm::Frobenius]) {
        let f = move |x: &[Var]| x[0].cond(norm);
        all.push(Case::new(format!("cond {norm:?}"), vec![regular(&[2, 3, 3], 15)], f).wide_only().slack(256.0));
    }
    for size in [0.1, 1.0, 3.0] {
        let f = move |x: &[Var]| x[0].mul(size)?.matrix_exp();
        all.push(
            Case::new(format!("matrix_exp {size}"), vec![numbers(&[2, 3, 3], 16)], f)
                .wide_only()
                .slack(1024.0)
                .reference(move |x| {
                    // Sums up in so many small steps.
                    let (n, _, all) = matrices(&x[0]);
                    let steps = 1 << 10;
                    let values = all.iter().flat_map(|a| {
                        let mut y: Vec<f64> = (0..n * n).map(|at| f64::from(at / n == at % n)).collect();
                        let times = |y: &[f64]| -> Vec<f64> {
                            let sum = |at: usize| (0..n).map(|k| a[at / n * n + k] * y[k * n + at % n]).sum::<f64>();
                            (0..n * n).map(|at| sum(at) * size / f64::from(steps)).collect()
                        };
                        for _ in 0..steps {
                            let mut term = y.clone();
                            for order in 1..9 {
                                term = times(&term).iter().map(|x| x / f64::from(order)).collect();
                                y.iter_mut().zip(&term).for_each(|(y, x)| *y += x);
                            }
                        }
                        y
                    });
                    Array { dims: x[0].dims.clone(), values: values.collect() }
                }),
        );
    }
    for triangle in [Triangle::Lower, Triangle::Upper] {
        let inputs = vec![numbers(&[2, 3, 3], 6), numbers(&[2, 3, 2], 7)];
        let f = move |x: &[Var]| positive(&x[0])?.cholesky(triangle)?.cholesky_solve(&x[1], triangle);
        all.push(Case::new(format!("cholesky_solve {triangle:?}"), inputs, f).slack(256.0));
        let f = move |x: &[Var]| positive(&x[0])?.cholesky(triangle)?.cholesky_inverse(triangle);
        all.push(Case::new(format!("cholesky_inverse {triangle:?}"), vec![numbers(&[3, 3], 6)], f).slack(256.0));
    }
    all.push(Case::new("logdet", vec![numbers(&[3, 3], 6)], |x| positive(&x[0])?.logdet()).slack(256.0));
    for n in [-2, -1, 0, 1, 2, 3, 5] {
        let f = move |x: &[Var]| x[0].matrix_power(n);
        all.push(Case::new(format!("matrix_power {n}"), vec![regular(&[2, 3, 3], 14)], f).wide_only().slack(256.0));
    }
    all
}

pub fn all() -> Vec<Case> {
    [equations(), determinants(), decompositions(), norms()].into_iter().flatten().map(Case::fused).collect()
}

/// The largest difference of two tensors.
fn apart(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.shape(), b.shape());
    a.sub(b).unwrap().to_vec_as::<f64>().into_iter().fold(0.0, |most, x| most.max(x.abs()))
}

#[test]
fn parts_multiply_to_the_whole() {
    for dims in [&[5, 5][..], &[3, 6, 4], &[4, 6], &[40, 30], &[1, 3], &[65, 65], &[33, 70], &[130, 17]] {
        let x = numbers(dims, 21);
        let close = 1e-12;
        let (q, r) = x.qr().unwrap();
        assert!(apart(&q.matmul(&r).unwrap(), &x) < close);
        let (u, s, v) = x.svd().unwrap();
        assert!(apart(&u.mul(&s.unsqueeze(-2).unwrap()).unwrap().matmul(&v).unwrap(), &x) < close);
        for orthonormal in [q, u, v.transpose(-1, -2).unwrap()] {
            let k = orthonormal.shape()[orthonormal.rank() - 1];
            let inner = orthonormal.transpose(-1, -2).unwrap().matmul(&orthonormal).unwrap();
            assert!(apart(&inner, &unit(k).expand(*inner.shape()).unwrap()) < close);
        }
        let p = x.pinv(None).unwrap();
        assert!(apart(&x.matmul(&p).unwrap().matmul(&x).unwrap(), &x) < close);
        let square = x.matmul(&x.transpose(-1, -2).unwrap()).unwrap();
        let (w, v) = square.eigh().unwrap();
        let back = v.mul(&w.unsqueeze(-2).unwrap()).unwrap().matmul(&v.transpose(-1, -2).unwrap()).unwrap();
        assert!(apart(&back, &square) < 100.0 * close);
    }
}

/// Whether what `eigh` and `svd` find of a symmetric matrix is right to the last places beside its largest value.
fn assert_decomposed(x: &Tensor, what: &str) {
    let size = x.abs().unwrap().amax(..).unwrap().item().unwrap().max(f64::MIN_POSITIVE);
    let n = x.shape()[0];
    let close = |a: &Tensor, b: &Tensor, size: f64| {
        let apart = apart(a, b);
        assert!(apart <= 2e-15 * n as f64 * size, "{what}: {apart:e} of {size:e}");
    };
    let (w, q) = x.eigh().unwrap();
    let (u, s, v) = x.svd().unwrap();
    close(&q.mul(&w).unwrap().matmul(&q.t().unwrap()).unwrap(), x, size);
    close(&u.mul(&s).unwrap().matmul(&v).unwrap(), x, size);
    for orthonormal in [q, u, v] {
        close(&orthonormal.t().unwrap().matmul(&orthonormal).unwrap(), &unit(n), 1.0);
    }
    let in_order = |x: &[f64]| x.windows(2).all(|pair| pair[0] <= pair[1]);
    assert!(in_order(&w.to_vec::<f64>().unwrap()), "{what}");
    assert!(in_order(&s.neg().unwrap().to_vec::<f64>().unwrap()), "{what}");
    let magnitudes = w.abs().unwrap().sort(0, true).unwrap().0;
    close(&magnitudes, &s, size);
}

#[test]
fn matrices_that_are_hard_to_decompose() {
    let filled = |n: usize, f: &dyn Fn(usize, usize) -> f64| {
        Tensor::from_vec((0..n * n).map(|at| f(at / n, at % n)).collect(), [n, n]).unwrap()
    };
    let random = |n: usize| {
        let x = numbers(&[n, n], 3);
        x.add(&x.t().unwrap()).unwrap()
    };
    // Eigenvalues in pairs that agree to the last place.
    let wilkinson = filled(21, &|i, j| match i.abs_diff(j) {
        0 => (i as f64 - 10.0).abs(),
        1 => 1.0,
        _ => 0.0,
    });
    assert_decomposed(&wilkinson, "Wilkinson's");
    assert_decomposed(&filled(12, &|i, j| 1.0 / (i + j + 1) as f64), "Hilbert's");
    assert_decomposed(&unit(17), "the unit");
    assert_decomposed(&Tensor::zeros([18, 18]).unwrap().cast(DType::F64).unwrap(), "nothing");
    assert_decomposed(&filled(40, &|_, _| 1.0), "all equal");
    for n in [2, 3, 15, 16, 17, 31, 33, 64] {
        assert_decomposed(&random(n), "random");
        let graded = |i: usize| 10f64.powf(-(16.0 * i as f64) / n as f64);
        let x = random(n).to_vec::<f64>().unwrap();
        assert_decomposed(&filled(n, &|i, j| x[i * n + j] * graded(i) * graded(j)), "falling");
        assert_decomposed(&filled(n, &|i, j| x[i * n + j] * graded(n - i) * graded(n - j)), "rising");
        for scale in [1e-300, 1e300] {
            assert_decomposed(&random(n).mul(scale).unwrap(), "of an extreme size");
        }
    }
    // Of a chain of springs the eigenvalues are known.
    let n = 100;
    let (w, _) = filled(n, &|i, j| [2.0, -1.0, 0.0][i.abs_diff(j).min(2)]).eigh().unwrap();
    for (k, w) in w.to_vec::<f64>().unwrap().into_iter().enumerate() {
        let known = 2.0 - 2.0 * (std::f64::consts::PI * (k + 1) as f64 / (n + 1) as f64).cos();
        assert!((w - known).abs() < 1e-13, "{k}: {w} {known}");
    }
}

#[test]
fn what_depends_on_itself_is_decomposed_too() {
    // Rank 1, a column of zeros, and nothing but zeros.
    for x in [
        Tensor::new([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [-1.0, -2.0, -3.0], [0.0, 0.0, 0.0]]),
        Tensor::new([[0.0, 1.0], [0.0, 2.0], [0.0, -1.0]]),
        Tensor::new([[0.0; 3]; 2]),
    ] {
        let (u, s, v) = x.svd().unwrap();
        assert!(apart(&u.mul(&s).unwrap().matmul(&v).unwrap(), &x) < 1e-14);
        let inner = u.t().unwrap().matmul(&u).unwrap();
        let k = inner.shape()[0];
        assert!(apart(&inner, &unit(k)) < 1e-14);
        let p = x.pinv(None).unwrap();
        assert!(apart(&p.matmul(&x).unwrap().matmul(&p).unwrap(), &p) < 1e-14);
    }
    let tiny = Tensor::new([[1e-200, 0.0], [1e-200, 1e200]]);
    assert_eq!(tiny.svd().unwrap().1.to_vec::<f64>().unwrap()[0], 1e200);
    let (values, _) = Tensor::new([[f64::NAN, 1.0], [1.0, 2.0]]).eigh().unwrap();
    assert!(values.to_vec::<f64>().unwrap().iter().all(|x| x.is_nan()));
}

/// Bands that rise by many orders of magnitude, and columns whose squares are no numbers.
#[test]
fn matrices_that_rise() {
    for (n, rise) in [(14, 10.0), (10, 15.0), (5, 58.0), (20, 12.0), (60, 4.0)] {
        let size = |i: usize| 10f64.powf(-rise * (n - 1 - i) as f64);
        let band = |f: &dyn Fn(usize, usize) -> f64| {
            Tensor::from_vec((0..n * n).map(|at| f(at / n, at % n)).collect(), [n, n]).unwrap()
        };
        let upper = band(&|i, j| if j == i || j == i + 1 { size(i) } else { 0.0 });
        let (u, s, v) = upper.svd().unwrap();
        assert!(apart(&u.mul(&s).unwrap().matmul(&v).unwrap(), &upper) < 1e-13);
        let (q, r) = upper.t().unwrap().qr().unwrap();
        assert!(apart(&q.matmul(&r).unwrap(), &upper.t().unwrap()) < 1e-13);
        for orthonormal in [u, v, q] {
            assert!(apart(&orthonormal.t().unwrap().matmul(&orthonormal).unwrap(), &unit(n)) < 1e-13, "{n} {rise}");
        }
        assert_decomposed(&band(&|i, j| if i.abs_diff(j) <= 1 { size(i.min(j)) } else { 0.0 }), "a band that rises");
    }
}

#[test]
fn exponentials_are_those_of_each_matrix() {
    let exp = |x: &Tensor| x.matrix_exp().unwrap().to_vec_as::<f64>();
    let y = exp(&Tensor::new([[[f64::NAN]], [[-20.0]], [[1e308]], [[100.0]], [[0.1]]]));
    assert!(y[0].is_nan() && y[2] == f64::INFINITY);
    for (y, x) in [(y[1], -20f64), (y[3], 100.0), (y[4], 0.1)] {
        assert!((y / x.exp() - 1.0).abs() < 1e-12, "{x}: {y}");
    }
    assert_eq!(exp(&Tensor::new([[[-1e7f32]], [[1.0]]])), [0.0, f64::from(1f32.exp())]);
    let each = numbers(&[7, 4, 4], 3);
    let alone: Vec<f64> = (0..7).flat_map(|i| exp(&each.index(0, i).unwrap().mul(1.0).unwrap())).collect();
    assert_eq!(exp(&each), alone);
    // A matrix that is finished has a gradient beside one that is not.
    let tape = Tape::new();
    let x = tape.watch(&Tensor::new([[[3.0]], [[300.0]]]));
    let dx = x.matrix_exp().unwrap().sum(..).unwrap().backward().unwrap().get(&x).unwrap().to_vec::<f64>().unwrap();
    assert!((dx[0] / 3f64.exp() - 1.0).abs() < 1e-12 && (dx[1] / 300f64.exp() - 1.0).abs() < 1e-12, "{dx:?}");
}

#[test]
fn the_default_bound_is_that_of_the_type() {
    let columns = [0.1, 0.3, 0.7];
    for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
        let x = Tensor::new(columns).outer(&Tensor::new([0.3, 0.7, 0.9])).unwrap().cast(dtype).unwrap();
        assert_eq!(x.matrix_rank(None).unwrap().to_vec_as::<f64>(), [1.0], "{dtype}");
        assert!(x.pinv(None).unwrap().abs().unwrap().amax(..).unwrap().item().unwrap() < 10.0, "{dtype}");
    }
    for rcond in [-1.0, f64::NAN] {
        assert!(unit(2).pinv(Some(rcond)).unwrap_err().to_string().starts_with("pinv: rcond is"));
    }
    // Powers of numbers below 1, of which the sums are known.
    let powers = Tensor::from_vec((0..400).map(|at| (f64::from(at / 8) / 50.0).powi(at % 8) as f32).collect(), [50, 8]);
    let powers = powers.unwrap();
    let x = powers.lstsq(&powers.cast(DType::F64).unwrap().sum(1).unwrap().cast(DType::F32).unwrap()).unwrap();
    assert!(apart(&x.cast(DType::F64).unwrap(), &Tensor::full([8], 1.0).unwrap()) < 2e-3, "{x}");
}

#[test]
fn singular_matrices() {
    let x = Tensor::new([[[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [2.0, 4.0]]]);
    assert_eq!(x.det().unwrap().to_vec::<f64>().unwrap(), [-2.0, 0.0]);
    let (sign, log) = x.slogdet().unwrap();
    assert_eq!((sign.to_vec::<f64>().unwrap()[1], log.to_vec::<f64>().unwrap()[1]), (0.0, f64::NEG_INFINITY));
    let text = x.inv().unwrap_err().to_string();
    assert!(text.starts_with("inv: matrix 1 of [2, 2, 2] is singular") && text.contains("linalg.rs"), "{text}");
    assert!(
        x.index(0, 1)
            .unwrap()
            .solve(&Tensor::new([1.0, 2.0]))
            .unwrap_err()
            .to_string()
            .contains("the matrix [2, 2] is singular")
    );
    let text = x.cholesky(Triangle::Lower).unwrap_err().to_string();
    assert!(text.contains("matrix 0 of [2, 2, 2] is not positive definite"), "{text}");
    let triangle = Tensor::new([[0.0, 2.0], [3.0, 4.0]]);
    let text = triangle.solve_triangular(&Tensor::new([1.0, 1.0]), Triangle::Upper, false).unwrap_err().to_string();
    assert!(text.contains("its diagonal has a 0"), "{text}");
    // Of a determinant of 0 the gradient would be that of the minors.
    let tape = Tape::new();
    let x = tape.watch(&x);
    let text = gradients(&[(&x.det().unwrap().sum(..).unwrap(), &Var::new(Tensor::new(1.0)))], &[&x], false);
    assert!(text.unwrap_err().to_string().contains("is singular"));
}

#[test]
fn mistakes_are_errors() {
    let (a, b) = (numbers(&[2, 3], 1), numbers(&[2, 2], 2));
    let told = |x: kiln_autograd::Result<Tensor>, part: &str| {
        let text = x.unwrap_err().to_string();
        assert!(text.contains(part) && text.contains("linalg.rs"), "{text}");
    };
    told(a.inv(), "inv: needs square matrices [..., n, n], found [2, 3]");
    told(a.det(), "det: needs square matrices");
    told(Tensor::new([1.0]).pinv(None), "pinv: needs matrices [..., m, n], found [1]");
    told(b.solve(&numbers(&[3, 2], 1)), "solve: matrices [2, 2] do not fit right sides [3, 2]");
    told(numbers(&[2, 2, 2], 1).solve(&numbers(&[3, 2, 1], 1)), "the leading dimensions do not broadcast");
    told(a.matrix_norm(MatrixNorm::Order(3.0), false), "there is no norm of order 3");
    told(a.matrix_power(2), "matrix_power: needs square matrices");
    told(a.lstsq(&numbers(&[3], 1)), "lstsq");
    assert_eq!(
        Tensor::new([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]]).matrix_rank(None).unwrap().to_vec::<i64>().unwrap(),
        [1]
    );
    assert!(Tensor::new([[-1.0]]).logdet().unwrap().item().unwrap().is_nan());
    // Integers are numbers too.
    assert_eq!(Tensor::new([[1, 2], [3, 4]]).det().unwrap().item().unwrap(), -2.0);
    assert_eq!(Tensor::new([[1, 2], [3, 4]]).inv().unwrap().dtype(), DType::F32);
}
