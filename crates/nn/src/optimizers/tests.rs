//! What every optimizer withstands: odd settings, huge gradients, rules that fail.

use super::*;
use kiln_autograd::ops::{ArithmeticOps, Function};
use kiln_autograd::{Scalar, Shape};

/// Every optimizer with its defaults and with the options that keep other slots.
fn all() -> Vec<Optimizer> {
    let named = registry::NAMES.iter().map(|name| from_name(name).unwrap());
    named
        .chain([
            Optimizer::new(Adam::new(0.01).amsgrad(true)).unwrap(),
            Optimizer::new(RMSprop::new(0.01).centered(true).momentum(0.9)).unwrap(),
            Optimizer::new(SGD::new(0.01).momentum(0.9).nesterov(true)).unwrap(),
            Optimizer::new(Adafactor::new(0.01).convention(Convention::PyTorch)).unwrap(),
        ])
        .collect()
}

fn step(optimizer: &mut Optimizer, value: &mut Tensor, gradient: f32) -> Result<()> {
    let gradient = Tensor::full(*value.shape(), gradient).unwrap();
    optimizer.apply(&mut [ParameterUpdate { name: "w", value, gradient: Some(gradient) }])
}

fn is_finite(x: &Tensor) -> bool {
    x.to_vec_as::<f64>().into_iter().all(f64::is_finite)
}

#[test]
fn huge_gradients_leave_numbers() {
    for mut optimizer in all().into_iter().filter(|optimizer| optimizer.name() != "SGD") {
        for shape in [&[2, 3][..], &[3], &[2, 2, 2]] {
            // With the largest whose velocity is a number.
            for gradient in [1e30, -1e30, 1e19, 2e37] {
                let mut value = Tensor::ones(shape).unwrap();
                for _ in 0..5 {
                    step(&mut optimizer, &mut value, gradient).unwrap();
                }
                assert!(is_finite(&value), "{} {gradient:e}: {value}", optimizer.name());
                assert!(optimizer.state().iter().all(|(_, slot)| is_finite(slot)), "{}", optimizer.name());
                optimizer = from_config(&optimizer.to_config()).unwrap();
            }
        }
    }
}

#[test]
fn a_name_that_two_parameters_have_is_refused() {
    let mut weights = [Tensor::ones([2]).unwrap(), Tensor::ones([2]).unwrap(), Tensor::ones([2]).unwrap()];
    let mut run = |optimizer: &mut Optimizer, names: [&'static str; 3]| {
        let updates = names.iter().zip(&mut weights).map(|(name, value)| {
            let gradient = Some(Tensor::ones([2]).unwrap());
            ParameterUpdate { name, value, gradient }
        });
        optimizer.apply(&mut updates.collect::<Vec<_>>())
    };
    for mut optimizer in all() {
        for _ in 0..2 {
            let before = optimizer.state().len();
            let text = run(&mut optimizer, ["w", "b", "w"]).unwrap_err().to_string();
            assert_eq!(optimizer.state().len(), before);
            assert!(text.contains("two parameters `w`") && text.contains("help: give"), "{text}");
            run(&mut optimizer, ["b", "w", "v"]).unwrap();
        }
    }
    let mut optimizer = from_name("adam").unwrap();
    run(&mut optimizer, ["u", "v", "w"]).unwrap();
    let state = optimizer.state();
    let [value, other, _] = &mut weights;
    let updates = [value, other].map(|value| ParameterUpdate { name: "w", value, gradient: None });
    let text = optimizer.load_state(&updates, &state).unwrap_err().to_string();
    assert!(text.contains("two parameters `w`"), "{text}");
}

#[test]
fn half_precision_is_updated_in_single() {
    for dtype in [DType::F16, DType::BF16] {
        for mut optimizer in all() {
            let mut value = Tensor::zeros([2, 3]).unwrap().cast(dtype).unwrap();
            for _ in 0..3 {
                step(&mut optimizer, &mut value, 1e4).unwrap();
            }
            assert!(is_finite(&value) && value.dtype() == dtype, "{}: {value}", optimizer.name());
            assert!(value.to_vec_as::<f64>().iter().all(|x| *x < 0.0), "{} {dtype}: {value}", optimizer.name());
            let slots = optimizer.state().into_iter().filter(|(name, _)| name.starts_with("w/"));
            slots.for_each(|(name, slot)| assert!(is_finite(&slot) && slot.dtype() == DType::F32, "{name}: {slot}"));
        }
    }
    // 300 · 300 is no f16, nor is the sum that is averaged.
    for sgd in [SGD::new(1.0).clipnorm(1.0), SGD::new(1e-3).gradient_accumulation_steps(2)] {
        let mut optimizer = Optimizer::new(sgd).unwrap();
        let mut value = Tensor::zeros([1]).unwrap().cast(DType::F16).unwrap();
        for _ in 0..2 {
            let gradient = Some(Tensor::new([300.0]));
            let update = &mut [ParameterUpdate { name: "w", value: &mut value, gradient }];
            optimizer.apply_weighted(update, 1000.0).unwrap();
        }
        let moved = -value.item().unwrap();
        assert!((moved - 2.0).abs() < 1e-3 || (moved - 0.3).abs() < 1e-3, "{moved}");
    }
}

#[test]
fn state_is_taken_up_and_checked() {
    let run = |optimizer: &mut Optimizer, value: &mut Tensor, steps: usize| {
        (0..steps).for_each(|i| step(optimizer, value, 0.5 - i as f32).unwrap());
    };
    for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
        for mut whole in all() {
            let mut value = Tensor::ones([3]).unwrap().cast(dtype).unwrap();
            run(&mut whole, &mut value, 2);
            let mut resumed = from_config(&whole.to_config()).unwrap();
            let mut taken = value.clone();
            let parameter = [ParameterUpdate { name: "w", value: &mut taken, gradient: None }];
            resumed.load_state(&parameter, &whole.state()).unwrap();
            run(&mut whole, &mut value, 3);
            run(&mut resumed, &mut taken, 3);
            assert!(value.same_bits(&taken), "{} {dtype}", whole.name());
        }
    }
    let mut adam = Optimizer::new(Adam::new(0.1).use_ema(true).gradient_accumulation_steps(2)).unwrap();
    let mut value = Tensor::ones([3]).unwrap();
    run(&mut adam, &mut value, 3);
    let state = adam.state();
    for (key, wrong) in [
        ("w/average", Tensor::new([[9i64]])),
        ("w/accumulated", Tensor::new([1.0f32])),
        ("w/velocity", Tensor::new([1.0f64, 1.0, 1.0])),
        ("iterations", Tensor::new(1e300)),
        ("steps", Tensor::new(f64::NAN)),
    ] {
        let state: Vec<(String, Tensor)> =
            state.iter().map(|(k, t)| (k.clone(), if k == key { wrong.clone() } else { t.clone() })).collect();
        assert!(state.iter().any(|(k, _)| k == key), "{key}");
        let parameter = [ParameterUpdate { name: "w", value: &mut value, gradient: None }];
        let error = adam.load_state(&parameter, &state).unwrap_err().to_string();
        assert!(error.contains(&format!("the saved `{key}`")), "{error}");
    }
    assert!(adam.set_rate_factor(f64::NAN).is_err() && adam.set_rate_factor(0.5).is_ok());
}

#[test]
fn a_name_stands_for_one_parameter() {
    for mut optimizer in all() {
        let mut value = Tensor::ones([2]).unwrap();
        step(&mut optimizer, &mut value, 1.0).unwrap();
        let other = Tensor::ones([3]).unwrap();
        for other in [other.clone(), other.cast(DType::F64).unwrap(), value.cast(DType::F64).unwrap()] {
            let mut changed = other.clone();
            let error = step(&mut optimizer, &mut changed, 1.0).unwrap_err().to_string();
            assert!(error.contains("the parameter `w` is") && changed.same_bits(&other), "{error}");
        }
    }
}

#[test]
fn sums_of_squares_stay_numbers() {
    let rules = [Optimizer::new(Ftrl::new(0.1)), Optimizer::new(Adagrad::new(0.1))];
    for mut optimizer in rules.map(Result::unwrap) {
        let mut value = Tensor::ones([1]).unwrap();
        for _ in 0..400 {
            step(&mut optimizer, &mut value, 1e30).unwrap();
        }
        assert!(is_finite(&value), "{}: {value}", optimizer.name());
    }
    let mut adamax = from_name("adamax").unwrap();
    let mut value = Tensor::ones([1]).unwrap();
    (0..4).for_each(|i| step(&mut adamax, &mut value, if i % 2 == 0 { 3e38 } else { -3e38 }).unwrap());
    assert!(is_finite(&value), "{value}");
    // Double precision squares much more.
    let mut optimizer = from_name("adam").unwrap();
    let mut value = Tensor::new([1.0]);
    for gradient in [1e30, 1e-30] {
        let gradient = Some(Tensor::new([gradient]));
        optimizer.apply(&mut [ParameterUpdate { name: "w", value: &mut value, gradient }]).unwrap();
    }
    let slot = optimizer.state().into_iter().find(|(name, _)| name == "w/momentum").unwrap().1.item().unwrap();
    assert!((slot / 9e28 - 1.0).abs() < 1e-12, "{slot}");
}

#[test]
fn a_gradient_that_is_no_number_is_seen() {
    for mut optimizer in all() {
        let mut value = Tensor::ones([2]).unwrap();
        step(&mut optimizer, &mut value, f32::NAN).unwrap();
        assert!(value.to_vec::<f32>().unwrap().iter().all(|x| x.is_nan()), "{}", optimizer.name());
    }
}

#[test]
fn a_clip_that_is_not_needed_changes_no_bit() {
    let plain = SGD::new(1.0);
    for limit in [49.0, 1e39, f64::INFINITY] {
        for sgd in [plain.clone(), plain.clone().clipnorm(limit), plain.clone().global_clipnorm(limit)] {
            let mut optimizer = Optimizer::new(sgd).unwrap();
            let mut value = Tensor::zeros([1]).unwrap();
            step(&mut optimizer, &mut value, 49.0).unwrap();
            assert_eq!(value.to_vec::<f32>().unwrap(), [-49.0], "{limit}");
        }
    }
}

#[test]
fn an_update_without_memory_loses_nothing() {
    for name in ["sgd", "adam", "lamb", "adafactor"] {
        let mut optimizer = from_name(name).unwrap();
        let mut value = Tensor::filled(Spec::new(Shape::new(&[1 << 41]).unwrap(), DType::F32), 2.0);
        let gradient = Some(value.clone());
        let error = optimizer.apply(&mut [ParameterUpdate { name: "w", value: &mut value, gradient }]).unwrap_err();
        assert!(error.to_string().contains("no memory"), "{error}");
        assert!(value.count() == 1 << 41 && optimizer.iterations() == 0, "{name}");
    }
}

#[test]
fn clipping_knows_norms_whose_squares_overflow() {
    for sgd in [SGD::new(1.0).clipnorm(2.0), SGD::new(1.0).global_clipnorm(2.0)] {
        let mut optimizer = Optimizer::new(sgd).unwrap();
        let mut value = Tensor::zeros([4]).unwrap();
        step(&mut optimizer, &mut value, 1e30).unwrap();
        assert!(value.to_vec::<f32>().unwrap().iter().all(|x| (x + 1.0).abs() < 1e-6), "{value}");
        step(&mut optimizer, &mut value, f32::INFINITY).unwrap();
        assert!(value.to_vec::<f32>().unwrap().iter().all(|x| x.is_nan()), "an infinite norm is seen");
    }
}

#[test]
fn settings_out_of_range_are_errors() {
    let refused = [
        (Optimizer::new(Adam::new(0.1).beta_1(1.0)), "Adam: beta_1 is 1"),
        (Optimizer::new(Adam::new(0.1).epsilon(-1.0)), "Adam: epsilon is -1"),
        (Optimizer::new(SGD::new(0.1).momentum(f64::NAN)), "SGD: momentum is NaN"),
        (Optimizer::new(RMSprop::new(0.1).rho(2.0)), "RMSprop: rho is 2"),
        (Optimizer::new(Ftrl::new(0.1).learning_rate_power(1.0)), "Ftrl: learning_rate_power is 1"),
        (Optimizer::new(Ftrl::new(0.0)), "Ftrl: learning_rate is 0"),
        (Optimizer::new(Adam::new(f64::NAN)), "Adam: the learning rate is NaN"),
        (Optimizer::new(Adafactor::new(0.1).clip_threshold(0.0)), "Adafactor: clip_threshold is 0"),
    ];
    for (optimizer, text) in refused {
        let error = optimizer.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.starts_with(text) && error.contains("give a"), "{error}, not {text}");
    }
    let mut optimizer = from_name("adam").unwrap();
    assert!(optimizer.set_learning_rate(f64::NAN).is_err() && optimizer.set_learning_rate(-1.0).is_err());
    assert_eq!(optimizer.learning_rate(), 0.001);
    optimizer.set_learning_rate(1e300).unwrap();
    assert!(optimizer.set_rate_factor(1e300).is_err() && optimizer.learning_rate() == 1e300);
}

/// One with its defaults but for a number.
fn with<R: serde::de::DeserializeOwned>(setting: &str, number: f64) -> R {
    let one = serde::de::value::MapDeserializer::<_, serde::de::value::Error>::new([(setting, number)].into_iter());
    R::deserialize(one).unwrap()
}

#[test]
fn every_number_of_every_optimizer_has_a_range() {
    fn check<R: UpdateRule + Default + serde::de::DeserializeOwned + 'static>() {
        let config = Optimizer::new(R::default()).unwrap().to_config()["config"].clone();
        let own = R::default().arguments();
        for (setting, _) in own.as_object().unwrap().iter().filter(|(_, value)| value.is_f64()) {
            for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1e300, 1e300] {
                // A bound can be of any size, a falling power of any slope, and what a polynomial is made of any number.
                let is_free = match setting.as_str() {
                    "muon_a" | "muon_b" | "muon_c" => bad.is_finite(),
                    "beta_2_decay" | "learning_rate_power" => bad == -1e300,
                    _ => bad == 1e300,
                };
                // A number that may be left out is read as one from JSON alone.
                let outcome = match serde_json::json!(bad) {
                    Value::Null => match config[setting].is_f64() && !is_optional::<R>(setting) {
                        true => Optimizer::new(with::<R>(setting, bad)).map(|_| ()),
                        false => continue,
                    },
                    bad => {
                        let mut config = Optimizer::new(R::default()).unwrap().to_config();
                        config["config"][setting] = bad;
                        from_config(&config).map(|_| ())
                    }
                };
                let text = outcome.map_or_else(|error| error.to_string(), |()| String::new());
                let is_told = text.contains(&format!("{setting} is {bad}")) && text.contains("help: give");
                assert!(is_told || is_free, "{setting} = {bad}: {text}");
            }
        }
    }
    fn is_optional<R: serde::de::DeserializeOwned>(setting: &str) -> bool {
        let mut none = Map::new();
        none.insert(setting.to_owned(), Value::Null);
        R::deserialize(Value::Object(none)).is_ok()
    }
    macro_rules! checks {
        ($($optimizer:ident)*) => {
            [$({ check::<$optimizer>(); stringify!($optimizer) }),*]
        };
    }
    let checked =
        checks!(SGD RMSprop Adam AdamW Nadam Adamax RAdam Adagrad Adadelta Lion Lamb Adafactor Ftrl Muon Rprop ASGD);
    assert_eq!(checked.len(), registry::NAMES.len(), "an optimizer is missing from the list");
    // What all have in common.
    for bad in [f64::NAN, f64::NEG_INFINITY, -1e-300] {
        for sgd in [
            SGD::new(bad),
            SGD::new(0.1).weight_decay(bad),
            SGD::new(0.1).clipnorm(bad),
            SGD::new(0.1).clipvalue(bad),
            SGD::new(0.1).global_clipnorm(bad),
            SGD::new(0.1).use_ema(true).ema_momentum(bad),
            SGD::new(0.1).loss_scale(LossScale::Fixed(bad)),
            SGD::new(0.1).groups([Group::new("*").rate_factor(bad)]),
            SGD::new(0.1).groups([Group::new("*").weight_decay(bad)]),
        ] {
            let text = Optimizer::new(sgd.clone()).map(|_| sgd).unwrap_err().to_string();
            assert!(text.starts_with("SGD: ") && text.contains("help: give"), "{text}");
        }
        for name in registry::NAMES {
            let mut optimizer = from_name(name).unwrap();
            let rate = optimizer.learning_rate();
            assert!(optimizer.set_learning_rate(bad).is_err() && optimizer.set_rate_factor(bad).is_err(), "{name}");
            assert_eq!(optimizer.learning_rate(), rate);
        }
    }
}

#[test]
fn gradients_that_count_nothing_change_nothing() {
    for adam in [Adam::new(0.1), Adam::new(0.1).gradient_accumulation_steps(2)] {
        let mut optimizer = Optimizer::new(adam).unwrap();
        let mut value = Tensor::ones([2]).unwrap();
        for weight in [0.0, 0.0, f64::NAN] {
            let gradient = Some(Tensor::ones([2]).unwrap());
            let update = &mut [ParameterUpdate { name: "w", value: &mut value, gradient }];
            assert_eq!(optimizer.apply_weighted(update, weight).is_err(), weight.is_nan());
        }
        assert_eq!(value.to_vec::<f32>().unwrap(), [1.0, 1.0]);
        let own = optimizer.state().into_iter().filter(|(name, _)| name.starts_with("w/"));
        assert_eq!((optimizer.iterations(), own.count()), (0, 0));
    }
}

/// A rule that does what it should not, but for parameters of one number.
#[derive(Debug, Clone)]
enum Broken {
    Fails,
    GivesNothing,
    GivesShape,
    GivesType,
    ForgetsSlot,
}

impl UpdateRule for Broken {
    fn name(&self) -> &str {
        "Broken"
    }
    fn settings(&self) -> &Settings {
        static SETTINGS: std::sync::LazyLock<Settings> = std::sync::LazyLock::new(|| Settings {
            gradient_accumulation_steps: Some(2),
            global_clipnorm: Some(1.0),
            ..Settings::default()
        });
        &SETTINGS
    }
    fn arguments(&self) -> Value {
        Value::Null
    }
    fn boxed(&self) -> Box<dyn UpdateRule> {
        Box::new(self.clone())
    }
    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        vec![("slot", Tensor::filled(parameter, 7.0))]
    }
    fn update(&self, step: &Step, x: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let [parameter, slot] = [x[0].clone(), x[2].clone()];
        if parameter.count() == 1 {
            return Ok(vec![parameter.sub(&x[1])?, slot.add(&x[1])?]);
        }
        let _changed = step.apply::<_, 2, 2>(Both, vec![parameter.clone(), x[1].clone()], &[])?;
        match self {
            Broken::Fails => Err(Error::config("no", "never")),
            Broken::GivesNothing => Ok(vec![]),
            Broken::GivesShape => Ok(vec![Tensor::zeros(Shape::new(&[7])?)?, slot]),
            Broken::GivesType => Ok(vec![parameter.cast(DType::F64)?, slot]),
            Broken::ForgetsSlot => Ok(vec![parameter]),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Both;
impl Function<2, 2> for Both {
    const NAME: &'static str = "both";
    fn call<S: Scalar>(&self, [p, g]: [S; 2]) -> [S; 2] {
        [p - g.clone(), g]
    }
}

#[test]
fn a_rule_that_fails_loses_nothing() {
    for rule in [Broken::Fails, Broken::GivesNothing, Broken::GivesShape, Broken::GivesType, Broken::ForgetsSlot] {
        let mut optimizer = Optimizer::new(rule.clone()).unwrap();
        let (mut first, mut value) = (Tensor::new([5.0f32]), Tensor::new([1.0f32, 2.0]));
        let mut step = |optimizer: &mut Optimizer| {
            let gradients = [Tensor::new([3.0f32]), Tensor::new([4.0f32, 4.0])].map(Some);
            let [a, b] = gradients;
            let result = optimizer.apply(&mut [
                ParameterUpdate { name: "b", value: &mut first, gradient: a },
                ParameterUpdate { name: "w", value: &mut value, gradient: b },
            ]);
            (result, [first.clone(), value.clone()])
        };
        let (result, before) = step(&mut optimizer);
        result.unwrap();
        let state = optimizer.state();
        for _ in 0..2 {
            let (result, after) = step(&mut optimizer);
            let error = result.unwrap_err().to_string();
            assert!(matches!(rule, Broken::Fails) || error.starts_with("Broken: the update of `w`"), "{error}");
            assert!(before.iter().zip(&after).all(|(before, after)| before.same_bits(after)), "{rule:?}: {after:?}");
            for (before, after) in state.iter().zip(optimizer.state()) {
                assert!(before.0 == after.0 && before.1.same_bits(&after.1), "{rule:?}: {}", after.0);
            }
        }
        assert_eq!(optimizer.iterations(), 0);
    }
}

/// Gradient descent out of operations.
#[derive(Debug, Clone)]
struct Composed(Settings);

impl UpdateRule for Composed {
    fn name(&self) -> &str {
        "Composed"
    }
    fn settings(&self) -> &Settings {
        &self.0
    }
    fn arguments(&self) -> Value {
        Value::Null
    }
    fn boxed(&self) -> Box<dyn UpdateRule> {
        Box::new(self.clone())
    }
    fn slots(&self, _: Spec) -> Vec<(&'static str, Tensor)> {
        Vec::new()
    }
    fn update(&self, step: &Step, x: Vec<Tensor>) -> Result<Vec<Tensor>> {
        Ok(vec![x[0].sub(&x[1].mul(&step.rate)?)?])
    }
}

#[test]
fn every_rule_is_clipped_and_decays() {
    let sgd = || SGD::new(0.5);
    for sgd in [
        sgd(),
        sgd().clipnorm(1.0),
        sgd().global_clipnorm(1.0),
        sgd().clipvalue(0.5),
        sgd().weight_decay(0.25),
        sgd().clipnorm(2.0).weight_decay(0.25).weight_decay_in_gradient(true),
    ] {
        let run = |mut optimizer: Optimizer| {
            let mut value = Tensor::ones([4]).unwrap();
            step(&mut optimizer, &mut value, 2.0).unwrap();
            value.to_vec::<f32>().unwrap()
        };
        let composed = Optimizer::new(Composed(sgd.settings.clone())).unwrap();
        assert_eq!(run(composed), run(Optimizer::new(sgd.clone()).unwrap()), "{sgd:?}");
    }
}

#[test]
fn what_cannot_be_trained_stays_what_it_was() {
    for name in ["sgd", "adam", "lion", "adafactor", "lamb", "rmsprop"] {
        let mut weight = Tensor::new([10, 20]);
        let gradient = Some(Tensor::new([1, 1]));
        let mut optimizer = from_name(name).unwrap();
        let error = optimizer.apply(&mut [ParameterUpdate { name: "w", value: &mut weight, gradient }]).unwrap_err();
        assert!(error.to_string().contains("the parameter `w` has elements of type i32"), "{name}: {error}");
        assert_eq!(weight.to_vec::<i32>().unwrap(), [10, 20], "{name}");
    }
}

#[test]
fn the_mean_of_large_gradients_is_a_number_and_so_is_a_norm_beyond_their_type() {
    // Means of samples that count much, and of gradients whose sum is no f32.
    for (gradient, weights) in [(10f32, [1e38, 1e38, 1e38]), (10.0, [1e-300, 1e-300, 1e-300]), (3e38, [1.0, 64.0, 7.0])]
    {
        let mut optimizer = Optimizer::new(SGD::new(1.0).gradient_accumulation_steps(3)).unwrap();
        let mut value = Tensor::zeros([2]).unwrap();
        for weight in weights {
            let gradient = Some(Tensor::new([gradient, -gradient]));
            let update = &mut [ParameterUpdate { name: "w", value: &mut value, gradient }];
            optimizer.apply_weighted(update, weight).unwrap();
        }
        let moved = value.to_vec::<f32>().unwrap();
        assert!((moved[1] / gradient - 1.0).abs() < 1e-6 && moved[0] == -moved[1], "{moved:?}");
    }
    // Weighted as they say.
    let mut optimizer = Optimizer::new(SGD::new(1.0).gradient_accumulation_steps(2)).unwrap();
    let mut value = Tensor::zeros([1]).unwrap();
    for (gradient, weight) in [(1f32, 2.0), (100.0, 0.0), (4.0, 6.0)] {
        let gradient = Some(Tensor::new([gradient]));
        optimizer.apply_weighted(&mut [ParameterUpdate { name: "w", value: &mut value, gradient }], weight).unwrap();
    }
    assert!((value.item().unwrap() + 26.0 / 8.0).abs() < 1e-6, "{value}");
    // The norm is 3e39.
    for sgd in [SGD::new(1.0).clipnorm(1.0), SGD::new(1.0).global_clipnorm(1.0)] {
        let mut optimizer = Optimizer::new(sgd).unwrap();
        let mut value = Tensor::zeros([100]).unwrap();
        step(&mut optimizer, &mut value, 3e38).unwrap();
        assert!(value.to_vec::<f32>().unwrap().iter().all(|x| (x + 0.1).abs() < 1e-5), "{value}");
        let mut value = Tensor::new([0.0, 0.0]);
        let gradient = Some(Tensor::new([3e200, 4e200]));
        optimizer.apply(&mut [ParameterUpdate { name: "wide", value: &mut value, gradient }]).unwrap();
        assert!((value.to_vec::<f64>().unwrap()[1] + 0.8).abs() < 1e-12, "{value}");
    }
}

#[test]
fn a_rate_of_0_moves_nothing() {
    // What Rprop is told is the size of its first step alone.
    for mut optimizer in all().into_iter().filter(|optimizer| optimizer.name() != "Rprop") {
        // As a warm-up begins: no velocity holds the rate of a step before.
        optimizer.set_rate_factor(0.0).unwrap();
        let mut value = Tensor::new([1.0f32, -2.0]);
        (0..2).for_each(|_| step(&mut optimizer, &mut value, 0.5).unwrap());
        assert_eq!(value.to_vec::<f32>().unwrap(), [1.0, -2.0], "{}", optimizer.name());
        optimizer.set_rate_factor(1.0).unwrap();
        step(&mut optimizer, &mut value, 0.5).unwrap();
        let moved = value.to_vec::<f32>().unwrap();
        assert!(is_finite(&value) && moved != [1.0, -2.0], "{}: {value}", optimizer.name());
        optimizer.set_rate_factor(0.0).unwrap();
        step(&mut optimizer, &mut value, 0.5).unwrap();
        assert!(is_finite(&value), "{}: {value}", optimizer.name());
        assert!(optimizer.name() != "Ftrl" || value.to_vec::<f32>().unwrap() == moved, "{value}");
    }
}

#[test]
fn groups_have_rates_and_decays_of_their_own() {
    let groups = [Group::new("encoder/*").rate_factor(0.5), Group::new("*/bias").weight_decay(0.0)];
    for rate in [0.1, 0.2] {
        let mut optimizer = Optimizer::new(SGD::new(rate).weight_decay(0.1).groups(groups.clone())).unwrap();
        let mut values = [1.0, 1.0, 1.0, 1.0].map(|value: f64| Tensor::new(value));
        let names = ["encoder/kernel", "head/kernel", "head/bias", "encoder/bias"];
        let updates = names.iter().zip(&mut values);
        let one = || Some(Tensor::new(1.0f64));
        let mut updates: Vec<_> =
            updates.map(|(name, value)| ParameterUpdate { name, value, gradient: one() }).collect();
        optimizer.apply(&mut updates).unwrap();
        // Decayed by rate · decay, then moved by the rate: half of both, both, no decay, and half without.
        let wanted = [1.0 - 0.05 * rate - 0.5 * rate, 1.0 - 0.1 * rate - rate, 1.0 - rate, 1.0 - 0.5 * rate];
        for (value, wanted) in values.iter().zip(wanted) {
            assert!((value.item().unwrap() - wanted).abs() < 1e-12, "{value} is not {wanted}");
        }
    }
    let again = from_config(&Optimizer::new(SGD::new(0.1).groups(groups)).unwrap().to_config()).unwrap();
    assert_eq!(again.settings().groups.len(), 2);
    // Of two factors the product, of two decays the last.
    let both = |groups: [Group; 2]| {
        let treatment = Optimizer::new(SGD::new(0.1).groups(groups)).unwrap().settings.treatment("a/bias", None);
        (treatment.rate_factor, treatment.weight_decay)
    };
    let (all, biases) = (Group::new("*").rate_factor(0.5).weight_decay(0.1), Group::new("*/bias").rate_factor(0.5));
    assert_eq!(both([all.clone(), biases.clone().weight_decay(0.0)]), (0.25, Some(0.0)));
    assert_eq!(both([biases.weight_decay(0.0), all]), (0.25, Some(0.1)));
    let paths = ["a/kernel", "a/bias"];
    let text = |optimizer: Optimizer| optimizer.check_patterns(&paths).unwrap_err().to_string();
    let sgd = || Optimizer::new(SGD::new(0.1)).unwrap();
    let hidden = sgd().part("a/*", SGD::new(0.2)).unwrap().part("a/bias", SGD::new(0.3)).unwrap();
    assert!(text(hidden).contains("all parameters of the part `a/bias` are left to the part `a/*`"));
    let hidden = Optimizer::new(SGD::new(0.1).groups([Group::new("*/bias")])).unwrap();
    let hidden = hidden.part("a/*", SGD::new(0.2)).unwrap();
    assert!(text(hidden).contains("give the group to the optimizer of that part"));
    assert!(
        sgd().part("a/bias", SGD::new(0.3)).unwrap().part("a/*", SGD::new(0.2)).unwrap().check_patterns(&paths).is_ok()
    );
    let wrong = SGD::new(0.1).groups([Group::new("*").rate_factor(f64::NAN)]);
    assert!(Optimizer::new(wrong).unwrap_err().to_string().contains("the group `*`"));
}
