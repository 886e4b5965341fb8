//! Searches as users run them.

use super::*;
use crate::{Compile, Dataset};
use kiln_nn::layers::Dense;
use kiln_nn::ops::{ReduceOps, ViewOps};
use kiln_nn::optimizers::SGD;
use kiln_nn::{Key, Network, Sequential};

fn data() -> Dataset {
    let x = Key::new(0).normal([64, 3], 0.0, 1.0).unwrap();
    Dataset::new(x.clone(), x.sum(-1).unwrap().reshape([64, 1]).unwrap()).unwrap()
}

fn space() -> Space {
    Space::new().log_uniform("learning_rate", 1e-4, 1.0).choice("units", [2, 8])
}

fn build(choice: &Choice) -> Result<Model<Network>> {
    let net = Sequential::new([3]).add(Dense::new(choice.int("units")?).activation("tanh")).add(Dense::new(1));
    net.compile(SGD::new(choice.float("learning_rate")?), "mse", ())
}

fn run(search: &Search) -> Result<SearchResult<Network>> {
    let data = data();
    search.run(build, |model, fit, _| model.fit(&data, fit.epochs(4).validation_split(0.25)))
}

fn quiet(search: Search) -> Search {
    search.verbose(Verbosity::Silent)
}

/// What does not depend on the clock.
fn told(found: &SearchResult<Network>) -> Vec<(usize, Vec<Value>, Option<f64>, Vec<Option<f64>>, TrialEnd)> {
    found.trials.iter().map(|t| (t.number, t.values.clone(), t.score, t.curve.clone(), t.end)).collect()
}

#[test]
fn the_best_model_is_that_of_the_best_trial() {
    let found = run(&quiet(Search::random(space(), 12))).unwrap();
    let best = found.best().unwrap();
    assert!(found.trials.iter().all(|trial| trial.score >= best.score && trial.curve.len() == 4));
    let (_, validation) = data().split(0.25, 0).unwrap();
    let loss = found.model.as_ref().unwrap().evaluate(&validation).unwrap().get("loss").unwrap();
    assert!((loss - best.score.unwrap()).abs() < 1e-6);
    let table = found.to_string();
    assert!(table.lines().nth(3).unwrap().contains(&format!(" {} ", best.number + 1)), "{table}");
}

#[test]
fn the_panic_of_a_trial_is_told_as_it_was() {
    for parallel in [1, 2] {
        let search = quiet(Search::random(space(), 4)).parallel(parallel);
        let run = || search.run(build, |_, _, _| panic!("of the user"));
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).map(|_| ()).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"of the user"));
    }
}

#[test]
fn as_many_at_a_time_as_wished_find_the_same() {
    for search in [Search::random(space(), 9), Search::random(space(), 14).prune(true), Search::hyperband(space(), 9)] {
        let one = run(&quiet(search.clone()));
        let (one, search) = match search.strategy {
            // Its Fit has epochs of its own.
            Strategy::Hyperband { .. } => (by_hyperband(&quiet(search.clone())), search),
            _ => (one, search),
        };
        let again = match search.strategy {
            Strategy::Hyperband { .. } => by_hyperband(&quiet(search.clone()).parallel(3)),
            // What is given up depends on what has been before: on how many run at a time, but on nothing else.
            _ if search.prune => {
                let twice = run(&quiet(search.clone()).parallel(2)).unwrap();
                assert_eq!(told(&twice), told(&run(&quiet(search).parallel(2)).unwrap()));
                assert!(twice.trials.iter().any(|trial| trial.end == TrialEnd::Pruned));
                continue;
            }
            _ => run(&quiet(search).parallel(3)),
        };
        assert_eq!(told(&one.unwrap()), told(&again.unwrap()));
    }
}

fn by_hyperband(search: &Search) -> Result<SearchResult<Network>> {
    let data = data();
    search.run(build, |model, fit, _| model.fit(&data, fit.validation_split(0.25)))
}

#[test]
fn hyperband_trains_the_best_for_longer_and_goes_on_where_they_were() {
    let found = by_hyperband(&quiet(Search::hyperband(space(), 9))).unwrap();
    let mut epochs: Vec<usize> = found.trials.iter().map(|trial| trial.curve.len()).collect();
    epochs.sort_unstable();
    // Brackets of 9, 5 and 3: (9, 1) (3, 3) (1, 9); (5, 3) (1, 9); (3, 9).
    assert_eq!(epochs, [1, 1, 1, 1, 1, 1, 3, 3, 3, 3, 3, 3, 9, 9, 9, 9, 9]);
    // The longest are those of trials that were never put down.
    let trial = found.trials.iter().find(|trial| trial.number < 9 && trial.curve.len() == 9).unwrap();
    let mut model = build(&Choice::new(&space(), trial.values.clone())).unwrap();
    let fit = Fit::new().verbose(Verbosity::Silent).epochs(9).validation_split(0.25);
    let history = model.fit(&data(), fit).unwrap();
    let curve: Vec<f64> = trial.curve.iter().flatten().copied().collect();
    assert_eq!(curve, history.get("val_loss").unwrap());
}

#[test]
fn a_search_goes_on_after_what_its_folder_has() {
    let folder = tempfile::tempdir().unwrap();
    for (name, search) in [
        ("random", Search::random(space(), 8)),
        ("grid", Search::grid(Space::new().choice("learning_rate", [0.01, 0.1]).int("units", 1, 4))),
    ] {
        let folder = folder.path().join(name);
        let search = quiet(search);
        let whole = run(&search).unwrap();
        // A process that dies in its fifth trial, and those after it.
        let (data, count) = (data(), AtomicUsize::new(0));
        let outcome =
            search.clone().folder(&folder).run(build, |model, fit, _| match count.fetch_add(1, Memory::SeqCst) {
                4..=6 => Err(Error::data("it dies", "")),
                _ => model.fit(&data, fit.epochs(4).validation_split(0.25)),
            });
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("in trial 7: learning_rate="), "{error}");
        let resumed = search.clone().folder(&folder).run(build, |model, fit, _| {
            count.fetch_add(1, Memory::SeqCst);
            model.fit(&data, fit.epochs(4).validation_split(0.25))
        });
        let resumed = resumed.unwrap();
        assert_eq!(told(&whole), told(&resumed));
        assert_eq!(count.load(Memory::SeqCst), 7 + 4, "four were left");
        // Of one that is at its end the best model is read.
        let last = search.clone().folder(&folder).run(build, |_, _, _| unreachable!()).unwrap();
        let x = data.x().unwrap();
        let predict = |found: &SearchResult<Network>| found.model.as_ref().unwrap().predict(&x).unwrap();
        assert!(predict(&last).same_bits(&predict(&whole)));
        let other = search.seed(9).folder(&folder).run(build, |_, _, _| unreachable!());
        assert!(other.unwrap_err().to_string().contains("another seed"));
    }
}

#[test]
fn a_trial_that_fails_is_listed_and_the_search_goes_on() {
    let data = data();
    let choices = [1, 0, 2, 0, 4];
    let search = quiet(Search::grid(Space::new().choice("units", choices)));
    let build = |choice: &Choice| {
        let net = Sequential::new([3]).add(Dense::new(choice.int("units")?)).add(Dense::new(1));
        net.compile(SGD::new(0.01), "mse", ())
    };
    let train = |model: &mut Model<Network>, fit: Fit<'static>, _: &Choice| {
        model.fit(&data, fit.epochs(2).validation_split(0.25))
    };
    for parallel in [1, 2] {
        let found = search.clone().parallel(parallel).run(build, train).unwrap();
        let failed = |trial: &&Trial| trial.end == TrialEnd::Failed;
        assert_eq!(found.trials.iter().filter(failed).map(|trial| trial.number).collect::<Vec<_>>(), [1, 3]);
        let error = found.trials[1].error.as_ref().unwrap();
        assert!(error.contains("Dense") && error.contains("units"), "{error}");
        assert!(found.model.is_some() && found.best().unwrap().end == TrialEnd::Complete);
        let table = found.to_string();
        assert!(table.lines().any(|line| line.contains(" - ") && line.contains("failed")), "{table}");
    }
    // All of them, or three one after the other, are the error of the search.
    for choices in [&[0, 0][..], &[1, 0, 0, 0, 2]] {
        let search = quiet(Search::grid(Space::new().choice("units", choices.iter().copied())));
        let error = search.run(build, train).unwrap_err().to_string();
        assert!(error.contains("in trial ") && error.contains("units"), "{error}");
    }
}

#[cfg(feature = "bayesian")]
#[test]
fn estimates_are_the_same_again_and_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let search = |n| quiet(Search::bayesian(space(), n)).parallel(2);
    let whole = run(&search(16)).unwrap();
    assert_eq!(told(&whole), told(&run(&search(16)).unwrap()));
    run(&search(12).folder(folder.path())).unwrap();
    assert_eq!(told(&whole), told(&run(&search(16).folder(folder.path())).unwrap()));
}

#[test]
fn what_cannot_work_is_said() {
    let text = |search: Search| run(&quiet(search)).unwrap_err().to_string();
    assert!(text(Search::random(space(), 0)).contains("0 trials"));
    assert!(text(Search::random(space(), 1).parallel(0)).contains("at least 1"));
    assert!(text(Search::hyperband(space(), usize::MAX)).contains("too many trials"));
    assert!(text(Search::grid(space())).contains("a grid has no end along `learning_rate`"));
    assert!(text(Search::random(space(), 1).objective("odd")).contains("Mode::Min"));
    assert!(text(Search::random(space(), 1).objective("val_los").mode(Mode::Min)).contains("val_loss"));
    assert!(text(Search::random(Space::new().int("unit", 1, 2), 1)).contains("did you mean `unit`"));
}

#[test]
fn results_as_csv() {
    let folder = tempfile::tempdir().unwrap();
    let found = run(&quiet(Search::random(space(), 3))).unwrap();
    let path = folder.path().join("trials.csv");
    found.to_csv(&path).unwrap();
    let text = fs::read_to_string(path).unwrap();
    assert!(text.starts_with("trial,learning_rate,units,val_loss,epochs,seconds,end\n1,"), "{text}");
    assert_eq!(text.lines().count(), 4);
}

#[test]
fn a_round_that_was_broken_off_is_ended_as_it_would_have_been() {
    let strategy = Strategy::Random { trials: 12 };
    let of = |done: &[usize]| -> Vec<usize> {
        let trial = |&number: &usize| Trial {
            number,
            parameters: Vec::new(),
            values: Vec::new(),
            score: Some(1.0),
            curve: Vec::new(),
            budget: None,
            seconds: 0.0,
            end: TrialEnd::Complete,
            error: None,
        };
        let done: Vec<Trial> = done.iter().map(trial).collect();
        let tasks = strategy.next(&space(), 0, &done, Direction::Min, Some(4)).unwrap();
        tasks.into_iter().map(|task| task.number).collect()
    };
    assert_eq!(of(&[]), [0, 1, 2, 3]);
    assert_eq!(of(&[0, 1, 2, 3, 5, 7]), [4, 6]);
    assert_eq!(of(&[0, 1, 2, 3, 4, 5, 6, 7]), [8, 9, 10, 11]);

    let folder = tempfile::tempdir().unwrap();
    let search = || quiet(Search::random(space(), 16)).prune(true).parallel(4);
    let whole = told(&run(&search()).unwrap());
    assert!(whole.iter().any(|trial| trial.4 == TrialEnd::Pruned));
    let kept = || search().folder(folder.path());
    run(&kept()).unwrap();
    let path = folder.path().join(TRIALS);
    let mut file: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let trials = file["trials"].as_array_mut().unwrap();
    trials.truncate(11);
    trials.remove(9);
    trials.remove(8);
    fs::write(&path, file.to_string()).unwrap();
    assert_eq!(told(&run(&kept()).unwrap()), whole);
}
