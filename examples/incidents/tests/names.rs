//! One word for one thing: every public module of the four crates imported at once, and each public type named once. It
//! does not compile where two types have one name. `.ci/names` sees to it that none is missing.
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
        fleet::*,
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
    AccessRule, Acquire, Adaptive, AdaptiveListener, AfterFailure, AnyResponse, ApiError, ApiServer, AsBox, AsError,
    AsSendBox, AsText, Attempt, AttemptLoop, Awaited, Backoff, BlockingPolling, BlockingRetry, BlockingWithFailure,
    Body, BoxClassify, BoxListener, Boxed, BoxedError, BoxedFuture, Budget, ByClass, CallError, CallErrorClass,
    CallFault, Campaigns, CancellationToken, Cancelled, Chained, Change, Check, CheckResponse, CheckStatus, Classify,
    CloneRequest, Closures, Cluster, ClusterHealth, Code, ConfigError, ConfigMapLedger, Contract, Controls, Course,
    CutBy, Decision, Delays, Detail, Drain, Due, EachTerm, Elect, ElectError, Election, ElectionEvent, Ended, Ensure,
    EnsureFuture, EnsureMember, Ensured, ErasedError, ErasedProfile, ErrorClass, ErrorElseSayBoxed, Event, EvictError,
    Evicted, Eviction, Evictions, Evictor, Exec, Explained, Failure, Fault, Fetch, Finish, Finished, Fleet, FleetEvent,
    FleetExplained, FleetMember, Gap, GaveUp, Get, GetFuture, GivenUp, Gone, Guarded, Health, HealthCheck, Idempotency,
    Idle, InFlight, Injected, ItemEvent, Jitter, Job, JournalEntry, Judged, KeyStatus, KeyedAcquire, KeyedBackoff,
    KeyedLimiter, KeyedReady, Lapse, Last, Leader, LeaseError, LeaseLock, Ledger, LedgerError, LimitLayer,
    LimitService, Limiter, Listener, Listening, Lock, LockError, LongOperation, LongOperationError, Loss, Machine,
    Manager, ManagerError, Member, MemberChange, MemberError, MemberShare, MemberStatus, MemberWork, Members,
    MemoryLedger, MemoryLock, Message, Model, ModelCall, ModelClient, NextAttempt, ObserveOutput, ObserveOutputTypes,
    Observed, ObservedPod, OnMachine, OneTerm, Operation, Output, PeerUrls, Plan, PodKey, Policy, PolicyStop,
    PollOutput, PollOutputTypes, Polling, PollingFuture, Prepared, Profile, Profiles, Progress, Proxy, QueueHandle,
    Rate, Ratio, Ready, Reason, Reconciler, ReconcilerTypes, Reconnect, ReconnectStream, Record, RecordStream, Refused,
    Release, RepeatRequest, Reported, Reservation, ResourceKind, ResponseFuture, Retry, RetryAfterLayer,
    RetryAfterService, RetryAll, RetryFuture, RetryLayer, RetryOutput, RetryService, RunWorker, RunWorkerFuture, Said,
    Scheduled, Settle, SettleFuture, SettleOutput, SettleOutputTypes, Sighting, StatusError, Stop, Stored,
    StoredStream, Streamed, SyncOperation, TaskFailure, Term, TermWork, TestTerm, TimedQueue, Timing, Tolerated,
    Trigger, TriggerWork, Triggered, Trouble, Unhealthy, Unless, Until, User, Verb, Verdict, VirtualClock, Wait,
    WaitError, WaitHealthy, Warning, Watch, When, Which, Wire, WithFailure, WithFailureFuture, WithReport,
    WithReportFuture, WithSource, WithSourceFuture, Worker, Write,
};
#[cfg(feature = "etcd")]
use all::{EtcdCluster, EtcdLedger, EtcdLock};
// Not in these features: the listeners Metrics and Tracing.

#[test]
fn one_word_for_one_thing() {}
