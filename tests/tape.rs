//! The tape: its depth, its memory, its functions against closed forms.

use approx::assert_abs_diff_eq;
use kiln_autograd::ops::*;
use kiln_autograd::{
    DType, ErrorKind, Result, Tape, Tensor, Var, checkpoint, gradients, hvp, jvp, value_and_grad, vjp,
};

fn numbers(x: &Tensor) -> Vec<f64> {
    x.to_vec_as()
}

#[test]
fn a_hundred_thousand_steps_deep() {
    let tape = Tape::new();
    let x = tape.watch(&Tensor::new([1.0, 2.0]));
    let mut y = x.clone();
    for _ in 0..100_000 {
        y = y.add(&x).unwrap();
    }
    let dx = y.sum(..).unwrap().backward().unwrap().get(&x).unwrap();
    assert_eq!(numbers(&dx), [100_001.0, 100_001.0]);
}

#[cfg(target_os = "linux")]
#[test]
fn forward_passes_keep_no_memory() {
    let resident = || -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let (x, w) = (Tensor::ones([16, 64]).unwrap(), Tensor::ones([64, 64]).unwrap());
    let forward = || -> Result<()> {
        let tape = Tape::new();
        let w = tape.watch(&w);
        Var::new(x.clone()).matmul(&w)?.relu()?.matmul(&w)?.log_softmax(-1)?.mean(..)?;
        Ok(())
    };
    (0..500).for_each(|_| forward().unwrap());
    let before = resident();
    (0..10_000).for_each(|_| forward().unwrap());
    // Each pass keeps about 16 KiB: a leak of all would be 160 MiB. Other tests run beside this one, so leave them room.
    let grown = resident().saturating_sub(before);
    assert!(grown < 100_000, "{grown} KiB more after 10,000 passes");
}

/// `Σ x³ · w` with gradient `3x²w` and Hessian `diag(6xw)`.
fn cubes(x: &[Var]) -> Result<Var> {
    let w = Var::new(Tensor::new([1.0, -2.0, 0.5]));
    x[0].pow(3.0)?.mul(&w)?.sum(..)
}

#[test]
fn products_with_jacobians_and_hessians() {
    let x = [Tensor::new([1.0, 2.0, 3.0])];
    let (y, g) = value_and_grad(cubes, &x).unwrap();
    assert_eq!((y.item().unwrap(), numbers(&g[0])), (1.0 - 16.0 + 13.5, vec![3.0, -24.0, 13.5]));
    let v = [Tensor::new([1.0, 0.5, -1.0])];
    let (g, h) = hvp(cubes, &x, &v).unwrap();
    assert_eq!(numbers(&g[0]), [3.0, -24.0, 13.5]);
    assert_eq!(numbers(&h[0]), [6.0, -12.0, -9.0]);
    // y = (x0 x1, x1 x2, x0 + x2) has the Jacobian [[2, 1, 0], [0, 3, 2], [1, 0, 1]] here.
    let f = |x: &[Var]| {
        let [a, b, c] = [x[0].index(0, 0)?, x[0].index(0, 1)?, x[0].index(0, 2)?];
        stack(&[&a.mul(&b)?, &b.mul(&c)?, &a.add(&c)?], 0)
    };
    let (y, dy) = jvp(f, &x, &v).unwrap();
    assert_eq!((numbers(&y), numbers(&dy)), (vec![2.0, 6.0, 4.0], vec![2.5, -0.5, 0.0]));
    let (_, dx) = vjp(f, &x, &v[0]).unwrap();
    assert_eq!(numbers(&dx[0]), [1.0, 2.5, 0.0]);
    assert!(jvp(f, &x, &[Tensor::new([1.0])]).is_err());
}

#[test]
fn checkpoints_change_no_gradient() {
    let inner = |x: &[Var]| -> Result<Vec<Var>> { Ok(vec![x[0].mul(&x[1])?.tanh()?.matmul(&x[1].t()?)?]) };
    let inputs = [Tensor::new([[0.3, -0.7], [1.1, 0.4]]), Tensor::new([[0.5, 0.2], [-0.3, 0.9]])];
    let plain = |x: &[Var]| inner(x)?.swap_remove(0).square()?.sum(..);
    let saved = move |x: &[Var]| checkpoint(inner, &[&x[0], &x[1]])?.swap_remove(0).square()?.sum(..);
    let (a, b) = (value_and_grad(plain, &inputs).unwrap(), value_and_grad(saved, &inputs).unwrap());
    assert!(a.0.same_bits(&b.0) && a.1.iter().zip(&b.1).all(|(a, b)| a.same_bits(b)));
    let v = [Tensor::new([[1.0, 2.0], [3.0, 4.0]]), Tensor::new([[0.1, 0.2], [0.3, 0.4]])];
    let (a, b) = (hvp(plain, &inputs, &v).unwrap(), hvp(saved, &inputs, &v).unwrap());
    a.1.iter().zip(&b.1).for_each(|(a, b)| assert_abs_diff_eq!(a, b, epsilon = 1e-12));
    let tape = Tape::new();
    let outside = tape.watch(&inputs[0]);
    let x = tape.watch(&inputs[1]);
    let error = checkpoint(move |x| Ok(vec![x[0].mul(&outside)?]), &[&x]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tape);
}

#[test]
fn a_value_used_many_times_adds_its_gradients() {
    let tape = Tape::new();
    let x = tape.watch(&Tensor::new([2.0]));
    let terms: Vec<Var> = (1..=50).map(|k| x.mul(f64::from(k)).unwrap()).collect();
    let y = concat(&terms.iter().collect::<Vec<_>>(), 0).unwrap().mul(&x).unwrap().sum(..).unwrap();
    // y = 1275 x², from which 2550 x.
    assert_eq!(y.backward().unwrap().get(&x).unwrap().item().unwrap(), 5100.0);
    assert_eq!(y.backward().unwrap().get(&x).unwrap().item().unwrap(), 5100.0, "a second walk sees the same");
}

#[test]
fn gradients_of_gradients_of_gradients() {
    let tape = Tape::new();
    let x = tape.watch(&Tensor::new([1.5]));
    let mut y = x.pow(5.0).unwrap();
    for want in [5.0 * 1.5f64.powi(4), 20.0 * 1.5f64.powi(3), 60.0 * 1.5f64.powi(2), 120.0 * 1.5, 120.0] {
        let one = Var::new(Tensor::new([1.0]));
        y = gradients(&[(&y, &one)], &[&x], true).unwrap().swap_remove(0).unwrap();
        assert!((y.tensor().item().unwrap() - want).abs() < 1e-9, "{y:?}, expected {want}");
    }
}

#[test]
fn infinite_and_undefined_values_spoil_only_their_own_gradients() {
    let infinite = f64::INFINITY;
    let slope = |f: fn(&Var) -> Result<Var>, x: f64| -> f64 {
        value_and_grad(|x| f(&x[0])?.sum(..), &[Tensor::new([x])]).unwrap().1[0].item().unwrap()
    };
    assert_eq!(slope(|x| x.mul(3.0), infinite), 3.0);
    assert_eq!(slope(|x| x.softplus_scaled(1.0, 20.0), -infinite), 0.0);
    assert_eq!(slope(|x| x.selu(), infinite), 1.050_700_987_355_480_5);
    assert_eq!(slope(|x| x.hard_silu(), infinite), 1.0);
    assert_eq!(slope(|x| x.abs(), f64::NAN), 0.0);
    // What a mask did not choose gets nothing, even where the other side is undefined.
    let masked = |x: &Var| {
        let mask = Var::new(Tensor::new([false]));
        mask.select(x, &Var::new(Tensor::new([1.0])))?.mul(f64::NAN)
    };
    assert_eq!(slope(masked, 2.0), 0.0);
}

#[test]
fn values_of_two_tapes_do_not_meet() {
    let (a, b) = (Tape::new(), Tape::new());
    let (x, y) = (a.watch(&Tensor::new([1.0])), b.watch(&Tensor::new([2.0])));
    for error in [x.add(&y).unwrap_err(), concat(&[&x, &y], 0).unwrap_err(), x.matmul(&y).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Tape, "{error}");
    }
    assert!(x.add(&y.detach()).is_ok());
}

#[test]
fn what_has_no_gradient_says_so() {
    let tape = Tape::new();
    let x = tape.watch(&Tensor::new([1.0, 2.0]));
    assert!(x.backward().is_err(), "two numbers");
    assert!(Var::new(Tensor::new([1.0])).backward().is_err(), "no tape");
    assert!(!tape.watch(&Tensor::new([1, 2])).is_tracked(), "integers");
    let unused = tape.watch(&Tensor::new([7.0]));
    let y = x.sum(..).unwrap();
    assert_eq!(y.backward().unwrap().get(&unused).unwrap().item().unwrap(), 0.0);
    assert!(!x.cast(DType::I64).unwrap().is_tracked());
    assert!(!x.gt(0.0).unwrap().is_tracked());
}
