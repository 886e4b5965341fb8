//! The tape: its depth, its memory, its functions against closed forms.

use approx::assert_abs_diff_eq;
use kiln_autograd::ops::*;
use kiln_autograd::{
    DType, ErrorKind, GradCheck, Result, Tape, Tensor, Var, Watch, checkpoint, gradients, hvp, jvp, value_and_grad, vjp,
};
use std::cell::RefCell;
use std::rc::Rc;

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

/// In a process of its own: the memory of other tests would be counted here.
#[cfg(target_os = "linux")]
#[test]
fn forward_passes_keep_no_memory() {
    let arguments = ["tape::ten_thousand_forward_passes", "--exact", "--ignored", "--test-threads=1"];
    let program = std::env::current_exe().unwrap();
    let output = std::process::Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "run by forward_passes_keep_no_memory in a process of its own"]
fn ten_thousand_forward_passes() {
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
    // Each pass keeps about 16 KiB: a leak of all would be 160 MiB.
    let grown = resident().saturating_sub(before);
    assert!(grown < 10_000, "{grown} KiB more after 10,000 passes");
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
    // One input of the region is computed from another: each path counts once.
    let within = |x: &[Var]| -> Result<Vec<Var>> { Ok(vec![x[0].mul(&x[1])?.tanh()?.mul(&x[1])?]) };
    let plain = |x: &[Var]| within(&[x[0].square()?.mul(&x[1])?, x[0].clone()])?.swap_remove(0).sum(..);
    let saved = |x: &[Var]| checkpoint(within, &[&x[0].square()?.mul(&x[1])?, &x[0]])?.swap_remove(0).sum(..);
    let (a, b) = (hvp(plain, &inputs, &v).unwrap(), hvp(saved, &inputs, &v).unwrap());
    a.1.iter().zip(&b.1).for_each(|(a, b)| assert_abs_diff_eq!(a, b, epsilon = 1e-12));
    let tape = Tape::new();
    let outside = tape.watch(&inputs[0]);
    let x = tape.watch(&inputs[1]);
    let error = checkpoint(move |x| Ok(vec![x[0].mul(&outside)?]), &[&x]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tape);
    // A region that gives nothing the second time has no gradient, and says so.
    let once = std::cell::Cell::new(true);
    let y = checkpoint(move |x| if once.take() { Ok(vec![x[0].square()?]) } else { Ok(Vec::new()) }, &[&x]).unwrap();
    let error = y[0].sum(..).unwrap().backward().unwrap_err().to_string();
    assert!(error.contains("1 values the first time and 0 the second"), "{error}");
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

#[test]
fn gradients_know_their_tape() {
    let gradients_of = |x: f64| {
        let tape = Tape::new();
        let x = tape.watch(&Tensor::new([x, 2.0 * x]));
        x.square().unwrap().sum(..).unwrap().backward().unwrap()
    };
    // The first tape is gone, and the second may well lie where it lay.
    let mut gradients = gradients_of(1.0);
    let tape = Tape::new();
    let stranger = tape.watch(&Tensor::new([3.0, 4.0]));
    assert_eq!(gradients.get(&stranger).unwrap_err().kind(), ErrorKind::Tape);
    assert_eq!(gradients.take(&stranger).unwrap_err().kind(), ErrorKind::Tape);
    assert_eq!(gradients.take(&Var::new(Tensor::new([3.0]))).unwrap_err().kind(), ErrorKind::Tape);
}

#[test]
fn inner_values_are_refused_and_unused_ones_are_zero() {
    let tape = Tape::new();
    let x = tape.watch(&Tensor::new([1.0, 2.0]));
    let unused = tape.watch(&Tensor::new([7.0]));
    let inner = x.mul(3.0).unwrap();
    let y = inner.square().unwrap().sum(..).unwrap();
    let mut gradients = y.backward().unwrap();
    let error = gradients.get(&inner).unwrap_err();
    assert!(error.to_string().contains("gradients("), "{error}");
    assert!(gradients.take(&inner).is_err() && gradients.get(&y).is_err());
    assert_eq!(numbers(&gradients.get(&unused).unwrap()), [0.0]);
    assert!(gradients.take(&unused).unwrap().is_none());
    assert_eq!(numbers(&gradients.take(&x).unwrap().unwrap()), [18.0, 36.0]);
    assert!(gradients.get(&x).is_err() && gradients.take(&x).is_err(), "it has been taken out");
    let one = Var::new(Tensor::new(1.0));
    let kept = kiln_autograd::gradients(&[(&y, &one)], &[&inner], false).unwrap().swap_remove(0).unwrap();
    assert_eq!(numbers(kept.tensor()), [6.0, 12.0]);
}

#[test]
fn leaves_leave_as_soon_as_they_are_final() {
    let tape = Tape::new();
    let log: Rc<RefCell<Vec<String>>> = Rc::default();
    let [a, b, c, unused] = [0.5, -0.3, 0.8, 1.0].map(|x| tape.watch(&Tensor::new([x, 2.0 * x])));
    // A region is computed a second time on the way back: that tells when the walk comes by.
    let seen = Rc::clone(&log);
    let region = move |x: &[Var]| {
        seen.borrow_mut().push("region".to_owned());
        Ok(vec![x[0].tanh()?])
    };
    let first = checkpoint(region, &[&a.mul(&b).unwrap()]).unwrap().swap_remove(0);
    let y = first.mul(&c).unwrap().add(&c.square().unwrap()).unwrap().sum(..).unwrap();
    log.borrow_mut().clear();
    let mut handed = Vec::new();
    y.backward_with(|leaf, gradient| {
        log.borrow_mut().push(format!("leaf {leaf}"));
        handed.push((leaf, gradient));
        Ok(())
    })
    .unwrap();
    assert_eq!(*log.borrow(), ["leaf 2", "region", "leaf 0", "leaf 1"]);
    let all = y.backward().unwrap();
    for (leaf, gradient) in handed {
        let watched = [&a, &b, &c].into_iter().find(|x| x.leaf() == Some(leaf)).unwrap();
        assert!(gradient.same_bits(&all.get(watched).unwrap()), "leaf {leaf}");
    }
    assert_eq!((unused.leaf(), first.leaf()), (Some(3), None));
    // A number that is watched is its own leaf; an error ends the walk.
    let mut count = 0;
    let x = tape.watch(&Tensor::new(3.0));
    x.backward_with(|leaf, gradient| {
        count += 1;
        assert_eq!((Some(leaf), gradient.item()?), (x.leaf(), 1.0));
        Ok(())
    })
    .unwrap();
    assert_eq!(count, 1);
    let error = y.backward_with(|_, _| Err(kiln_autograd::Error::new(ErrorKind::Device, "send", "no")));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Device);
}

#[test]
fn a_view_that_reads_one_element_many_times_sums_its_gradients() {
    let x = [Tensor::new([1.0, 2.0, 3.0, 4.0])];
    let again = Stride { start: 1, length: 9, step: 0 };
    let f = |x: &[Var]| x[0].stride(0, again)?.sum(..);
    assert_eq!(numbers(&value_and_grad(f, &x).unwrap().1[0]), [0.0, 9.0, 0.0, 0.0]);
    for range in [again, Stride { length: 1, ..again }, Stride { length: 0, ..again }] {
        GradCheck::new().run(|x| x[0].stride(0, range)?.pow(3.0), &x).unwrap();
    }
    let matrix = [Tensor::new([[1.0, 2.0], [3.0, 4.0]])];
    let both = |x: &[Var]| x[0].stride(0, Stride { start: 1, length: 3, step: 0 })?.stride(1, again)?.exp();
    GradCheck::new().run(both, &matrix).unwrap();
}

#[test]
fn derivatives_of_several_numbers_are_refused() {
    let x = [Tensor::new([1.0, 2.0])];
    assert_eq!(hvp(|x| x[0].square(), &x, &x).unwrap_err().kind(), ErrorKind::Shape);
    assert!(hvp(|_| Ok(Var::new(Tensor::new([1.0, 2.0]))), &x, &x).is_err());
    assert!(value_and_grad(|_| Ok(Var::new(Tensor::new([1.0, 2.0]))), &x).is_err());
    assert_eq!(numbers(&hvp(|_| Ok(Var::new(Tensor::new(1.0))), &x, &x).unwrap().1[0]), [0.0, 0.0]);
    assert!(vjp(|x| x[0].square(), &x, &Tensor::new([1, 2])).is_err(), "a cotangent of integers");
}

#[test]
fn differences_are_as_wide_as_their_numbers_are_large() {
    for x in [0.0, 1e-3, 1.0, -1e6, 1e9] {
        GradCheck::new().run(|x| x[0].square(), &[Tensor::new([x])]).unwrap();
    }
    GradCheck::new().run(|x| x[0].log(), &[Tensor::new([1e6])]).unwrap();
}

#[test]
fn a_watch_sees_the_way_back() {
    let (watch, tape) = (Watch::new(), Tape::new());
    let x = tape.watch(&watch.input("the distances", &Tensor::new([4.0f32, 0.0])));
    let loss = watch.within("norm", || x.sqrt()).unwrap().sum(..).unwrap();
    let error = loss.backward().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFinite);
    let text = error.to_string();
    assert!(text.starts_with("sqrt: the result f32 [2] is not finite: inf at [1], 1 of 2 elements\n"), "{text}");
    assert!(text.contains("\n  operand 1, f32 [2], ") && text.contains("\n  in the gradient of `sqrt`"), "{text}");
    // Off the watch the same goes through.
    let x = tape.watch(&Tensor::new([4.0f32, 0.0]));
    assert_eq!(
        numbers(&x.sqrt().unwrap().sum(..).unwrap().backward().unwrap().get(&x).unwrap()),
        [0.25, f64::INFINITY]
    );
}
