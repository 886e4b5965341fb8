//! Rates at the steps where schedules turn, settings that are none, and what was written read again.

use super::*;

#[test]
fn warm_up_reaches_its_target() {
    let schedule = Schedule::from(CosineDecay::new(0.0, 100).warmup_target(Some(1.0)).warmup_steps(10));
    let rates: Vec<f64> = [0, 5, 10, 60, 110, 500].map(|step| schedule.rate(step)).to_vec();
    for (rate, want) in rates.iter().zip([0.0, 0.5, 1.0, 0.5, 0.0, 0.0]) {
        assert!((rate - want).abs() < 1e-12, "{rates:?}");
    }
}

#[test]
fn schedules_come_back_from_json() {
    let parts = vec![Linear::new(0.1).into(), CosineAnnealing::new(0.1, 30).minimum(0.001).into()];
    let schedule = Schedule::from(SequentialSchedule::new(parts, vec![10]));
    let text = serde_json::to_string(&schedule).unwrap();
    assert_eq!(serde_json::from_str::<Schedule>(&text).unwrap(), schedule);
}

#[test]
fn impossible_settings_are_errors() {
    for schedule in [
        Schedule::from(ExponentialDecay::new(0.1, 0, 0.5)),
        PiecewiseConstantDecay::new(vec![10], vec![0.1]).into(),
        SequentialSchedule::new(Vec::new(), Vec::new()).into(),
    ] {
        assert!(schedule.check().is_err(), "{schedule:?}");
    }
}

/// One of each, with settings that all have a range.
fn all() -> Vec<Schedule> {
    vec![
        ExponentialDecay::new(0.1, 10, 0.5).into(),
        InverseTimeDecay::new(0.1, 10, 0.5).into(),
        PiecewiseConstantDecay::new(vec![10], vec![0.1, 0.01]).into(),
        PolynomialDecay::new(0.1, 10).cycle(true).into(),
        CosineDecay::new(0.1, 10).warmup_target(Some(0.2)).warmup_steps(3).into(),
        CosineDecayRestarts::new(0.1, 10).into(),
        StepDecay::new(0.1, 10).into(),
        MultiStepDecay::new(0.1, vec![3, 5]).into(),
        CosineAnnealing::new(0.1, 10).into(),
        CosineWarmRestarts::new(0.1, 10).growth(2).into(),
        Linear::new(0.1).into(),
        Constant::new(0.1).into(),
        OneCycle::new(0.1, 10).into(),
        OneCycle::new(0.1, 10).pct_start(0.1).three_phase(true).into(),
        Cyclic::new(0.01, 0.1).into(),
        SequentialSchedule::new(vec![Linear::new(0.1).into(), CosineDecay::new(0.1, 10).into()], vec![5]).into(),
    ]
}

#[test]
fn every_number_of_every_schedule_has_a_range() {
    for schedule in all() {
        schedule.check().unwrap();
        for step in (0..100).chain([1 << 20, 1 << 40]) {
            let rate = schedule.rate(step);
            assert!(rate.is_finite() && rate >= 0.0, "{schedule:?}: {rate} at step {step}");
        }
        let json = serde_json::to_value(&schedule).unwrap();
        let floats = json["config"].as_object().unwrap().iter().filter(|(_, v)| v.is_f64());
        for (setting, _) in floats {
            let mut wrong = json.clone();
            wrong["config"][setting] = serde_json::json!(-0.5);
            let wrong: Schedule = serde_json::from_value(wrong).unwrap();
            let text = wrong.check().unwrap_err().to_string();
            assert!(text.contains(&format!("{setting} is -0.5")) && text.contains("help: give"), "{text}");
        }
    }
    for bad in [f64::NAN, f64::INFINITY, -1.0] {
        let wrong: [Schedule; 12] = [
            ExponentialDecay::new(bad, 10, 0.5).into(),
            ExponentialDecay::new(0.1, 10, bad).into(),
            InverseTimeDecay::new(0.1, 10, bad).into(),
            PiecewiseConstantDecay::new(vec![10], vec![0.1, bad]).into(),
            PolynomialDecay::new(0.1, 10).power(bad).into(),
            CosineDecay::new(0.1, 10).alpha(bad).into(),
            CosineDecay::new(0.1, 10).warmup_target(Some(bad)).into(),
            CosineDecayRestarts::new(0.1, 10).t_mul(bad).into(),
            OneCycle::new(0.1, 10).div_factor(bad).into(),
            OneCycle::new(0.1, 10).pct_start(bad).into(),
            Cyclic::new(bad, 0.1).into(),
            SequentialSchedule::new(vec![Linear::new(bad).into()], vec![]).into(),
        ];
        for schedule in wrong {
            assert!(schedule.check().is_err(), "{schedule:?}");
        }
    }
    assert!(CosineDecay::new(0.1, 10).alpha(1.5).check("CosineDecay").is_err());
}

#[test]
fn a_decay_that_has_ended_stays_where_it_is() {
    let cosine = Schedule::from(CosineDecay::new(0.5, 100).alpha(0.1));
    let warm = Schedule::from(CosineDecay::new(0.0, 100).alpha(0.1).warmup_target(Some(0.5)).warmup_steps(20));
    let line = Schedule::from(PolynomialDecay::new(0.5, 100).end_learning_rate(0.05));
    for after in [0, 1, 100, 1 << 40] {
        for (schedule, end) in [(&cosine, 100), (&warm, 120), (&line, 100)] {
            assert!((schedule.rate(end + after) - 0.05).abs() < 1e-15, "{schedule:?}");
        }
    }
}

#[test]
fn a_cosine_starts_anew_at_its_first_step() {
    for growth in [1_u32, 2, 3, 5, 7, 10] {
        for first in [1_u32, 3, 10, 1000] {
            let keras = Schedule::from(CosineDecayRestarts::new(0.1, first).t_mul(f64::from(growth)));
            let torch = Schedule::from(CosineWarmRestarts::new(0.1, first).growth(growth));
            let (mut start, mut length) = (0, u64::from(first));
            for _ in 0..12 {
                for schedule in [&keras, &torch] {
                    assert_eq!(schedule.rate(start), 0.1, "{schedule:?} at {start}");
                    if length > 1 {
                        let low = schedule.rate(start + length - 1);
                        assert!(low < 0.1, "{schedule:?}: {low} at {}", start + length - 1);
                    }
                }
                (start, length) = (start + length, length * u64::from(growth));
            }
        }
    }
    // Not whole: every step lies inside its cycle, and heights change with the cycles.
    for growth in [1.000_001, 1.1, 1.5, 2.7] {
        let mut before = 0.0;
        for step in 0..5000 {
            let [number, start, length] = cycle(f64::from(step), 7.0, growth);
            assert!(number == before || number == before + 1.0, "{growth} {step}: {number} after {before}");
            let at = (f64::from(step) - start) / length;
            assert!((0.0..1.0).contains(&at), "{growth} {step}: {at}");
            before = number;
        }
    }
}

#[test]
fn what_grows_beyond_all_numbers_is_no_nan() {
    let all: [Schedule; 6] = [
        Cyclic::new(0.01, 0.1).step_size_up(3).gamma(2.0).into(),
        Cyclic::new(0.01, 0.1).step_size_up(3).cycle_decay(1e200).gamma(0.0).into(),
        ExponentialDecay::new(0.0, 1, 2.0).into(),
        StepDecay::new(0.0, 1).gamma(2.0).into(),
        MultiStepDecay::new(0.0, vec![1; 2000]).gamma(2.0).into(),
        CosineDecayRestarts::new(0.1, 1).t_mul(1.0).m_mul(2.0).alpha(1.0).into(),
    ];
    for schedule in all {
        schedule.check().unwrap();
        for step in [0, 1, 2, 3, 6, 1000, 6000, 6002, 1 << 40, 6 << 40] {
            let rate = schedule.rate(step);
            assert!(rate.is_finite() && rate >= 0.0, "{schedule:?}: {rate} at {step}");
        }
    }
    let cyclic = Schedule::from(Cyclic::new(0.01, 0.1).step_size_up(3).gamma(2.0));
    assert_eq!(cyclic.rate(6000), 0.01);
}
