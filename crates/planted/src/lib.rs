//! Planted bugs: mistakes that a test can switch on, one at a time, to see that the
//! simulator finds them.
//!
//! The code asks [`is`] at the place where the mistake would be made. Without the feature
//! `on`, which nothing but the simulator's own test turns on, that is the constant `false`, and no
//! more than that is compiled: a bug can be planted in no other build.

/// Names the bugs, with what each does.
macro_rules! bugs {
    ($($name:ident: $what:literal,)*) => {
        /// A mistake that can be planted.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Bug {
            $(#[doc = $what] $name,)*
        }

        #[cfg(feature = "on")]
        impl Bug {
            /// All of them.
            pub const ALL: &'static [Bug] = &[$(Bug::$name,)*];

            /// What it does, in a few words.
            #[must_use]
            pub fn what(self) -> &'static str {
                match self {
                    $(Bug::$name => $what,)*
                }
            }
        }
    };
}

bugs! {
    HoldExpiresEarly: "a hold counts as over one microsecond before its deadline",
    HoldExpiresLate: "a hold can still be claimed at its very deadline",
    StockFreedTwice: "a hold that ends gives its stock back twice",
    CancelledStockKept: "a cancelled order keeps its stock",
    ReinstatedTwice: "an order that is paid late takes its stock twice",
    CustomerLimitOffByOne: "a limit per customer lets one ticket more through",
    OrderLimitOffByOne: "a limit per order lets one ticket more through",
    QuotaOffByOne: "a quota sells one ticket more than there are",
    DueHoldsNotFreed: "holds that are due do not count as free",
    CustomerKeepsTickets: "tickets of an ended hold still count against their customer's limit",
    RefundForgotten: "the payment of a cancelled order is not due back",
    RepeatCarriedOutAgain: "a command that comes again is carried out again",
    IdsAcrossEvents: "the same command id for two events is taken for a repetition",
    WindowClosesLate: "a sale goes on at the very moment of its end",
    ExtensionAddsUp: "an extension is added to what is left of the hold",
    RedefinitionForgetsHeld: "a new definition forgets what is held",
    TimerSkipsOrders: "the timer leaves unpaid orders alone",
    TimerSleepsOn: "the timer does not wake for what comes due later in the same queue",
    PriceBelowMinimum: "a buyer's own price may lie below the minimum",
    ClaimedHoldForgotten: "nobody knows that a hold was claimed",
    StampBodyLost: "the digest of a command's body is not written to its record",
    PaymentTimeLost: "the deadline of a claimed order's payment is not written to its record",
    BatchNotSynced: "a batch is written but not synced",
    SyncErrorIgnored: "a sync that fails passes for one that succeeded",
    SyncTriedAgain: "a sync that fails is tried again on the same pages",
    DurableWhenSealed: "a batch counts as durable when it is handed to the helper thread",
    OwnBatchProven: "a batch's header says that the batch itself is durable",
    TailNotSynced: "a start serves before the tail of the log is synced",
    TailNotCopied: "a start leaves the tail where it is, perhaps in memory only",
    TailCutAtProven: "a start skips the batches that nothing after them speaks for",
    FolderNotSynced: "the name of a new segment is not synced",
    ChecksumIgnored: "a batch with a wrong checksum is taken for whole",
    DamageCut: "a start cuts the log at damage, whatever was acknowledged after it",
    AnsweredBeforeSync: "an answer leaves before its position is durable",
    RefusalNotHeldBack: "a refusal or a view leaves although what it tells of is not durable",
    AnswersOutOfOrder: "the latest answer leaves first",
    DeferredCommandDropped: "a command that waits for the next batch is forgotten",
    UnknownToldAsDone: "what waited for a sync that failed is told as done",
    ClockFollowsWall: "the engine's clock jumps with the wall's",
    PlacementComputedAgain: "the shard of a known sale group is computed again instead of looked up",
    UnknownPlaceForgotten: "an event of which nobody knows whether it was made may be made on another shard",
    SecretMadeAgain: "a shard that has no record yet gets another secret than its siblings",
    LostShardMadeAgain: "a shard whose files are gone is made anew",
    SnapshotForgetsIds: "a snapshot forgets the command ids, and nobody holds it against the state",
    SnapshotChecksumIgnored: "a part of a snapshot with a wrong checksum is taken for whole",
    SnapshotLacksRecord: "a snapshot says that it has one record more than it has",
    ReplaySkipsRecord: "a start from a snapshot skips the first record after it",
    ThawedOrderUnpaid: "an old order that is read again has lost its payment",
    FrozenOrderForgotten: "an old order that shrinks keeps the position of another record",
    FrozenPaymentForgotten: "a payment of an old order is not found by its reference any more",
    IdsFileShort: "a segment's file of ids lacks its second half",
    IdsFilesNotAsked: "ids of sealed segments are not looked up in their files",
    IdsLetGoEarly: "command ids are let go after an hour",
    ArchiveCopyNotSynced: "a segment is used again though its copy was never synced",
    ArchiveNameNotSynced: "a segment is used again though its copy's name was never synced",
    ReusedBeforeArchived: "a segment is used again before it has a copy",
    GenerationNotRaised: "without syncs, an unclean end does not begin a new generation",
    FullSegmentNotSynced: "without syncs, a full segment is not synced before the next one begins",
    FirstRecordNotSynced: "without syncs, a shard's first record may be lost, too",
}

/// Whether this bug is planted: the constant `false`.
#[cfg(not(feature = "on"))]
#[inline(always)]
#[must_use]
pub const fn is(_bug: Bug) -> bool {
    false
}

#[cfg(feature = "on")]
mod on;
#[cfg(feature = "on")]
pub use on::{is, plant};

// A constant can only be made of a function that always gives the same.
#[cfg(not(feature = "on"))]
const _: () = assert!(!is(Bug::AnsweredBeforeSync));

#[cfg(all(test, not(feature = "on")))]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_planted_without_the_feature() {
        const PLANTED: bool = is(Bug::HoldExpiresEarly) || is(Bug::LostShardMadeAgain);
        const { assert!(!PLANTED, "the switch is not constant") };
        assert_eq!(size_of_val(&is), 0, "there is a state behind the switch");
    }
}
