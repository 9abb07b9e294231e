//! One word for one thing: every public module of the four crates imported at once, and each public type named once. It does not
//! compile where two types have one name. `.ci/names` sees to it that none is missing.
#![allow(unused_imports, reason = "naming them is the test")]
#![deny(ambiguous_glob_imports)]

mod all {
    pub(crate) use relent::{
        backoff::*,
        blocking::*,
        budget::*,
        builder::*,
        error::{reason::*, *},
        events::*,
        http::*,
        io::*,
        leader::*,
        limiter::*,
        operation::*,
        plan::*,
        queue::*,
        stream::*,
        testing::{lock::*, proxy::*, *},
        tower::*,
        *,
    };
    pub(crate) use relent_apiserver::*;
    pub(crate) use relent_etcd::{classify::*, model::*, *};
    pub(crate) use relent_k8s::{conditions::*, eviction::*, *};
}

use all::{
    Acquire, AfterFailure, ApiError, ApiServer, AsBox, AsError, AsSendBox, AsText, Attempt, AttemptLoop, Awaited,
    Backoff, BlockingPolling, BlockingRetry, BlockingWithFailure, Body, BoxClassify, BoxListener, Boxed, BoxedError,
    BoxedFuture, Budget, ByClass, CallError, CallErrorClass, CallFault, Campaigns, CancellationToken, Cancelled,
    Chained, Change, Check, Classify, Closures, Cluster, ClusterHealth, Code, ConfigError, Contract, Controls, Course,
    CutBy, Decision, Delays, Detail, Drain, Due, EachTerm, Elect, ElectError, Election, ElectionEvent, Ended, Ensure,
    EnsureFuture, EnsureMember, Ensured, Entry, ErasedError, ErasedProfile, ErrorClass, ErrorElseSayBoxed, Event,
    EvictError, Evicted, Eviction, Evictions, Evictor, Explained, Failure, Fault, Fetch, Finish, Finished, GaveUp, Get,
    GetFuture, GivenUp, Gone, Guarded, Health, HealthCheck, Idle, InFlight, Injected, ItemEvent, Jitter, Job,
    KeyStatus, KeyedAcquire, KeyedBackoff, KeyedLimiter, KeyedReady, Last, Leader, LeaseError, LeaseLock, Limiter,
    Listener, Listening, Lock, LockError, LongOperation, LongOperationError, Loss, Machine, Manager, ManagerError,
    Member, MemberChange, MemberError, MemberStatus, MemberWork, Members, MemoryLock, Message, Model, ModelCall,
    ModelClient, NextAttempt, ObserveOutput, ObserveOutputTypes, Observed, ObservedPod, OnMachine, OneTerm, Operation,
    PeerUrls, Plan, PodKey, Policy, PolicyStop, PollOutput, PollOutputTypes, Polling, PollingFuture, Prepared, Profile,
    Progress, Proxy, QueueHandle, Rate, Ratio, Ready, Reason, Reconciler, ReconcilerTypes, Record, RecordStream,
    Refused, Release, Reported, Reservation, Resource, Retry, RetryAfterLayer, RetryAfterService, RetryAll,
    RetryFuture, RetryOutput, Rule, RunWorker, RunWorkerFuture, Said, Scheduled, Settle, SettleFuture, SettleOutput,
    SettleOutputTypes, Sighting, Stop, SyncOperation, TaskFailure, Term, TermWork, TimedQueue, Timing, Tolerated,
    Trigger, TriggerWork, Triggered, Unhealthy, Unless, Until, Verb, Verdict, VirtualClock, Wait, WaitError,
    WaitHealthy, Warning, Watch, When, Which, Wire, WithFailure, WithFailureFuture, WithReport, WithReportFuture,
    WithSource, WithSourceFuture, Worker, Write,
};
#[cfg(feature = "etcd")]
use all::{EtcdCluster, EtcdLock};
// Not in these features: the listeners Metrics and Tracing.

#[test]
fn one_word_for_one_thing() {}
