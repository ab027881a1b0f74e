//! Shards trained side by side.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rayon::ThreadPoolBuilder;
use wise_model::Model;
use wise_tensor::is_cpu;

use crate::wise::Wise;
use crate::wise::lockstep::{Lane, Lockstep};
use crate::wise::shard::{Request, Setup, Shard};
use crate::{EditProgress, Error, Made, Result, Watch};

/// What shards that train side by side may take together of the memory of a device that is not the CPU.
const DEVICE_BYTES: usize = 1 << 30;

/// Matrices that a shard trains with: its own before and after a step, its mask, gradient and the optimizer's means.
const MATRICES: usize = 6;

/// The edits that go into one shard, in order.
struct Work {
    shard_index: usize,
    shard: Shard,
    requests: Vec<Request>,
}

/// What a worker has to say.
enum News {
    Progress(EditProgress),
    Made {
        shard_index: usize,
        shard: Box<Shard>,
        index: usize,
        seconds: f64,
    },
    Failed(Error),
}

impl Wise {
    /// Trains each request into its shard, as many shards at once as there are threads and as the device has memory
    /// for. A shard does not depend on others, so it becomes the same as if they had been trained one after another;
    /// where they train in lockstep, up to rounding.
    pub(super) fn train(
        &mut self,
        requests: Vec<(usize, Request)>,
        edits: usize,
        watch: &mut dyn Watch,
    ) -> Result<()> {
        let queue = self.queue(requests);
        if queue.is_empty() {
            return Ok(());
        }
        let threads = rayon::current_num_threads();
        let workers = queue.len().min(at_once(&queue[0].shard, threads));
        let in_lockstep = workers > 1 && !is_cpu(&queue[0].shard.matrix.device());
        let lockstep = Lockstep::new(if in_lockstep { workers } else { 0 });
        let mut lanes = lockstep.lanes();
        let queue = Mutex::new(queue);
        let stop = AtomicBool::new(false);
        let (model, setup) = (Arc::clone(&self.model), Arc::clone(&self.setup));
        // A worker waits for what it has made to be taken up, and saved, before it has made much more.
        let (sender, news) = sync_channel(workers);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                let worker = Worker {
                    model: &model,
                    setup: &setup,
                    queue: &queue,
                    lane: lanes.pop(),
                    stop: &stop,
                    edits,
                    news: sender.clone(),
                };
                scope.spawn(move || {
                    let pool = ThreadPoolBuilder::new().num_threads(threads / workers);
                    match pool.build() {
                        Ok(pool) => pool.install(|| worker.run()),
                        Err(_) => worker.run(),
                    }
                });
            }
            drop(sender);
            // Gone with this closure, also where `watch` panics: workers must not wait for it then.
            let news = news;
            self.follow(&news, workers, &stop, watch)
        })
    }

    fn queue(&self, requests: Vec<(usize, Request)>) -> VecDeque<Work> {
        let mut queue: VecDeque<Work> = VecDeque::new();
        for (shard_index, request) in requests {
            match queue
                .iter_mut()
                .find(|work| work.shard_index == shard_index)
            {
                Some(work) => work.requests.push(request),
                None => queue.push_back(Work {
                    shard_index,
                    shard: self.shards[shard_index].clone(),
                    requests: vec![request],
                }),
            }
        }
        queue
    }

    /// Takes up what the workers make until all are done. After a failure or a break they stop at their next
    /// edit; what they make until then holds.
    fn follow(
        &mut self,
        news: &Receiver<News>,
        workers: usize,
        stop: &AtomicBool,
        watch: &mut dyn Watch,
    ) -> Result<()> {
        let mut outcome = Ok(());
        for item in news {
            match item {
                News::Progress(progress) => watch.progress(progress),
                News::Made {
                    shard_index,
                    shard,
                    index,
                    seconds,
                } => {
                    self.shards[shard_index] = *shard;
                    let Some(applied) = self.shards[shard_index].edits.last() else {
                        continue;
                    };
                    let made = Made {
                        editor: &*self,
                        index,
                        applied,
                        seconds,
                        at_once: workers,
                    };
                    if watch.made(made) == ControlFlow::Break(()) {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
                News::Failed(error) => {
                    stop.store(true, Ordering::Relaxed);
                    outcome = outcome.and(Err(error));
                }
            }
        }
        outcome
    }
}

/// How many shards like this one train side by side, at most one per thread.
fn at_once(shard: &Shard, threads: usize) -> usize {
    if is_cpu(&shard.matrix.device()) {
        return threads;
    }
    let [hidden, ffn] = shard.matrix.dims();
    let bytes = MATRICES * hidden * ffn * size_of::<f32>();
    (DEVICE_BYTES / bytes).clamp(1, threads)
}

struct Worker<'a> {
    model: &'a Model,
    setup: &'a Setup,
    queue: &'a Mutex<VecDeque<Work>>,
    /// Where the device computes one product after another.
    lane: Option<Lane<'a>>,
    stop: &'a AtomicBool,
    edits: usize,
    news: SyncSender<News>,
}

impl Worker<'_> {
    fn run(&self) {
        while let Some(work) = self.next() {
            if let Err(error) = self.shard(work) {
                self.tell(News::Failed(error));
                return;
            }
        }
    }

    fn next(&self) -> Option<Work> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.pop_front().filter(|_| !self.stopped())
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn shard(&self, work: Work) -> Result<()> {
        let (mut shard, iterations) = (work.shard, self.setup.config.n_iter);
        let lane = self.lane.as_ref();
        let mut training = shard.training(self.model, self.setup, lane)?;
        for request in work.requests {
            if self.stopped() {
                return Ok(());
            }
            let started = Instant::now();
            let mut told = Duration::ZERO;
            let mut observe = |done: usize, losses: &super::trainer::Iteration| {
                let telling = Instant::now();
                self.tell(News::Progress(EditProgress {
                    edit: request.index,
                    edits: self.edits,
                    iteration: done + 1,
                    iterations,
                    edit_loss: losses.edit_loss,
                    router_loss: losses.router_loss,
                    work: Some(losses.work),
                }));
                told += telling.elapsed();
            };
            shard.learn(
                self.model,
                self.setup,
                &mut training,
                &request,
                &mut observe,
            )?;
            self.tell(News::Made {
                shard_index: work.shard_index,
                shard: Box::new(shard.clone()),
                index: request.index,
                // Less what it waited for a listener.
                seconds: started.elapsed().saturating_sub(told).as_secs_f64(),
            });
        }
        Ok(())
    }

    fn tell(&self, news: News) {
        // Nobody listens any more only if the listener panicked.
        if self.news.send(news).is_err() {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}
