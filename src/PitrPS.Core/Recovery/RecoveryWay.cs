namespace PitrPS.Recovery;

/// <summary>How the data of before the target are made readable.</summary>
public enum RecoveryWay
{
    /// <summary>
    /// A second server takes the stopped standby's place, on a throw-away layer over its files, which are only read. The standby loses nothing.
    /// </summary>
    Scratch,

    /// <summary>
    /// An independent second server beside the standby, on a copy of its files, which is made while the standby is stopped: then the standby goes on. Several, at several targets, can stand side by side.
    /// </summary>
    Clone,

    /// <summary>
    /// In place: the standby itself replays up to the target, pauses there and can be read. For hosts where neither a layer nor a copy is possible:
    /// what the standby holds back before the target is applied for good, and its reach back is lost until the delay has passed again.
    /// </summary>
    Keep,

    /// <summary>
    /// The classic way: the standby itself replays up to the target and becomes a primary of its own, with an archive of its own. It is a standby no more; Reset-PgStandby makes one of it again.
    /// </summary>
    Promote,
}
