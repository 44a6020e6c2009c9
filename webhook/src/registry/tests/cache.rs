use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;
use tokio::time::{advance, sleep};

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// A registry that counts how often it is asked, and answers what it is told to.
#[derive(Clone, Default)]
struct Fake {
    asked: Arc<AtomicUsize>,
    answer: Arc<Mutex<Option<Problem>>>,
    /// While it is set, nobody gets an answer before it is notified.
    gate: Arc<Mutex<Option<Arc<Notify>>>>,
}

impl Fake {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn fail(&self, problem: impl Into<Option<Problem>>) {
        *self.answer.lock().unwrap() = problem.into();
    }

    fn hold(&self) -> Arc<Notify> {
        let gate = Arc::new(Notify::new());
        *self.gate.lock().unwrap() = Some(gate.clone());
        gate
    }

    async fn look_up(self) -> Answer {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let gate = self.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.notified().await;
        }
        match self.answer.lock().unwrap().clone() {
            Some(problem) => Err(problem),
            None => Ok(format!("digest {number}")),
        }
    }

    async fn get(&self, cache: &Cache<&'static str>, key: &'static str, terms: Terms) -> Answer {
        cache.get(&key, terms, || self.clone().look_up()).await
    }
}

fn cache() -> Cache<&'static str> {
    Cache::new(Size { answers: NonZeroUsize::MIN.saturating_add(2), lookups: 4 }, Metrics::default())
}

/// Ten seconds to answer, a minute fresh, ten more stale.
fn terms() -> Terms {
    Terms { deadline: Instant::now() + 10 * SECOND, fresh_for: MINUTE, stale_for: 10 * MINUTE }
}

#[allow(clippy::unnecessary_wraps)] // to be compared with answers
fn digest(number: usize) -> Answer {
    Answer::Ok(format!("digest {number}"))
}

/// Lets everything run that can.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_believed_for_its_time() {
    let (cache, fake) = (cache(), Fake::default());
    assert_eq!(fake.get(&cache, "a", terms()).await, digest(1));
    advance(40 * SECOND).await;
    assert_eq!(fake.get(&cache, "a", terms()).await, digest(1));
    assert_eq!(fake.get(&cache, "b", terms()).await, digest(2));
    advance(21 * SECOND).await;
    assert_eq!(fake.get(&cache, "a", terms()).await, digest(3));
    // Who believes less is told anew.
    advance(SECOND).await;
    let strict = Terms { fresh_for: SECOND, ..terms() };
    assert_eq!(fake.get(&cache, "a", strict).await, digest(4));
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_use_is_refreshed_before_it_expires() {
    let (cache, fake) = (cache(), Fake::default());
    assert_eq!(fake.get(&cache, "a", terms()).await, digest(1));
    advance(50 * SECOND).await; // 80 % are over, and 90 % not
    let gate = fake.hold();
    assert_eq!(fake.get(&cache, "a", terms()).await, digest(1));
    assert_eq!(fake.get(&cache, "a", terms()).await, digest(1));
    settle().await;
    assert_eq!(fake.asked(), 2);
    gate.notify_one();
    settle().await;
    assert_eq!(fake.get(&cache, "a", terms()).await, digest(2));
    assert_eq!(fake.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn equal_questions_are_asked_once() {
    let (cache, fake) = (cache(), Fake::default());
    let gate = fake.hold();
    let all: Vec<_> = (0..20)
        .map(|_| {
            let (cache, fake) = (cache.clone(), fake.clone());
            tokio::spawn(async move { fake.get(&cache, "a", terms()).await })
        })
        .collect();
    settle().await;
    gate.notify_one();
    for one in all {
        assert_eq!(one.await.unwrap(), digest(1));
    }
    assert_eq!(fake.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn others_get_the_answer_when_the_first_asker_is_gone() {
    let (cache, fake) = (cache(), Fake::default());
    let gate = fake.hold();
    let ask = |terms| {
        let (cache, fake) = (cache.clone(), fake.clone());
        tokio::spawn(async move { fake.get(&cache, "a", terms).await })
    };
    let first = ask(terms());
    settle().await;
    let second = ask(terms());
    settle().await;
    first.abort();
    assert!(first.await.is_err());
    settle().await;
    gate.notify_one();
    assert_eq!(second.await.unwrap(), digest(1));
    assert_eq!(fake.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn each_asker_has_a_deadline_of_its_own() {
    let (cache, fake) = (cache(), Fake::default());
    let gate = fake.hold();
    let ask = |seconds| {
        let (cache, fake) = (cache.clone(), fake.clone());
        let terms = Terms { deadline: Instant::now() + seconds * SECOND, ..terms() };
        tokio::spawn(async move { fake.get(&cache, "a", terms).await })
    };
    let (hasty, patient) = (ask(1), ask(8));
    assert_eq!(hasty.await.unwrap(), Err(Problem::Slow));
    gate.notify_one();
    assert_eq!(patient.await.unwrap(), digest(1));
    assert_eq!(fake.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn problems_are_believed_for_a_while() {
    let cases = [
        (Problem::NotFound, 10),
        (Problem::Unauthorized { with_credentials: true }, 5),
        (Problem::TooManyRequests { retry_after: 20 * SECOND }, 20),
        (Problem::TooManyRequests { retry_after: 1000 * SECOND }, 60),
        (Problem::Unreachable { why: "it answers 503".into(), retry_after: Some(30 * SECOND) }, 30),
        (Problem::Lying { why: "x" }, 5),
        (Problem::Slow, 0),
        (Problem::unreachable("x"), 0),
    ];
    for (problem, seconds) in cases {
        let (cache, fake) = (cache(), Fake::default());
        fake.fail(problem.clone());
        assert_eq!(fake.get(&cache, "a", terms()).await, Err(problem.clone()));
        if seconds > 0 {
            advance((seconds - 1) * SECOND).await;
            assert_eq!(fake.get(&cache, "a", terms()).await, Err(problem.clone()));
            assert_eq!(fake.asked(), 1, "{problem}");
        }
        advance(SECOND).await;
        assert_eq!(fake.get(&cache, "a", terms()).await, Err(problem.clone()));
        assert_eq!(fake.asked(), 2, "{problem}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_is_better_than_none() {
    let (cache, fake) = (cache(), Fake::default());
    assert_eq!(fake.get(&cache, "a", terms()).await, digest(1));
    for problem in [
        Problem::unreachable("x"),
        Problem::Slow,
        Problem::TooManyRequests { retry_after: 5 * SECOND },
        Problem::Busy,
    ] {
        advance(2 * MINUTE).await;
        fake.fail(problem);
        assert_eq!(fake.get(&cache, "a", terms()).await, digest(1));
        assert_eq!(fake.get(&cache, "a", terms()).await, digest(1)); // also without asking
    }
    // But not for ever, and not for whoever wants none.
    let strict = Terms { stale_for: SECOND, ..terms() };
    assert_eq!(fake.get(&cache, "a", strict).await, Err(Problem::Busy));
    advance(4 * MINUTE).await;
    assert_eq!(fake.get(&cache, "a", terms()).await, Err(Problem::Busy));
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_serves_who_cannot_wait() {
    let (cache, fake) = (cache(), Fake::default());
    assert_eq!(fake.get(&cache, "a", terms()).await, digest(1));
    advance(2 * MINUTE).await;
    let gate = fake.hold();
    assert_eq!(fake.get(&cache, "a", terms()).await, digest(1));
    gate.notify_one();
    settle().await;
    assert_eq!(fake.get(&cache, "a", terms()).await, digest(2));
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_gone_is_gone() {
    for problem in
        [Problem::NotFound, Problem::Unauthorized { with_credentials: false }, Problem::Lying { why: "x" }]
    {
        let (cache, fake) = (cache(), Fake::default());
        assert_eq!(fake.get(&cache, "a", terms()).await, digest(1));
        advance(2 * MINUTE).await;
        fake.fail(problem.clone());
        assert_eq!(fake.get(&cache, "a", terms()).await, Err(problem));
        fake.fail(Problem::Slow);
        advance(MINUTE).await;
        assert_eq!(fake.get(&cache, "a", terms()).await, Err(Problem::Slow));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_longest_unused_is_forgotten() {
    let (cache, fake) = (cache(), Fake::default());
    for key in ["a", "b", "c", "a", "d"] {
        assert!(fake.get(&cache, key, terms()).await.is_ok());
    }
    assert_eq!(fake.asked(), 4);
    assert_eq!(fake.get(&cache, "a", terms()).await, digest(1));
    assert_eq!(fake.get(&cache, "b", terms()).await, digest(5));
    assert_eq!(cache.lock().answers.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn lookups_are_limited_and_leave_nothing_behind() {
    let (cache, fake) = (cache(), Fake::default());
    let _gate = fake.hold();
    let hasty = || Terms { deadline: Instant::now() + SECOND, ..terms() };
    for key in ["a", "b", "c", "d"] {
        assert_eq!(fake.get(&cache, key, hasty()).await, Err(Problem::Slow));
    }
    assert_eq!(fake.get(&cache, "e", hasty()).await, Err(Problem::Busy));
    assert_eq!((fake.asked(), cache.lock().flights.len()), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_breaks_is_a_problem_of_its_own() {
    let cache = cache();
    let broken = || async { panic!("as a test") };
    assert!(matches!(cache.get(&"a", terms(), broken).await, Err(Problem::Unreachable { .. })));
    assert!(cache.lock().flights.is_empty());
    let fake = Fake::default();
    sleep(SECOND).await;
    assert_eq!(fake.get(&cache, "a", terms()).await, digest(1));
}
