extension HelperPrototype {
  /// Maps, time, ring buffers, dynptrs, timers, storage of tasks: what most program types have. By number.
  static let core: [HelperPrototype] = [
    HelperPrototype(.mapLookupElem, returns: .mapValueOrNull, .constMapPointer, .mapKey).packet,
    HelperPrototype(.mapUpdateElem, returns: .integer, .constMapPointer, .mapKey, .mapValue, .anything).packet,
    HelperPrototype(.mapDeleteElem, returns: .integer, .constMapPointer, .mapKey).packet,
    HelperPrototype(.ktimeGetNs, returns: .integer),
    HelperPrototype(.getPrandomU32, returns: .integer),
    HelperPrototype(.getSmpProcessorId, returns: .integer).fast,
    HelperPrototype(.tailCall, returns: .void, .context, .constMapPointer, .anything),
    HelperPrototype(.getCurrentPidTgid, returns: .integer),
    HelperPrototype(.getCurrentUidGid, returns: .integer),
    HelperPrototype(.getCurrentComm, returns: .integer, .uninitializedMemory, .constSize),
    HelperPrototype(.currentTaskUnderCgroup, returns: .integer, .constMapPointer, .anything),
    HelperPrototype(.getNumaNodeId, returns: .integer),
    HelperPrototype(.getCurrentCgroupId, returns: .integer),
    HelperPrototype(.mapPushElem, returns: .integer, .constMapPointer, .mapValue, .anything).packet,
    HelperPrototype(.mapPopElem, returns: .integer, .constMapPointer, .uninitializedMapValue),
    HelperPrototype(.mapPeekElem, returns: .integer, .constMapPointer, .uninitializedMapValue),
    HelperPrototype(.spinLock, returns: .void, .spinLock),
    HelperPrototype(.spinUnlock, returns: .void, .spinLock),
    HelperPrototype(.strtol, returns: .integer, .readOnlyMemory, .constSize, .anything, .uninitializedResult)
      .sized(4, 8),
    HelperPrototype(.strtoul, returns: .integer, .readOnlyMemory, .constSize, .anything, .uninitializedResult)
      .sized(4, 8),
    HelperPrototype(.jiffies64, returns: .integer),
    HelperPrototype(.getNsCurrentPidTgid, returns: .integer, .anything, .anything, .uninitializedMemory, .constSize),
    HelperPrototype(.getCurrentAncestorCgroupId, returns: .integer, .anything),
    HelperPrototype(.ktimeGetBootNs, returns: .integer),
    HelperPrototype(.ringbufOutput, returns: .integer, .constMapPointer, .readOnlyMemory, .constSizeOrZero, .anything),
    HelperPrototype(.ringbufReserve, returns: .ringbufMemoryOrNull, .constMapPointer, .constAllocSizeOrZero, .anything),
    HelperPrototype(.ringbufSubmit, returns: .void, .releasedRingbufMemory, .anything),
    HelperPrototype(.ringbufDiscard, returns: .void, .releasedRingbufMemory, .anything),
    HelperPrototype(.ringbufQuery, returns: .integer, .constMapPointer, .anything),
    HelperPrototype(.copyFromUser, returns: .integer, .uninitializedMemory, .constSizeOrZero, .anything).sleeping,
    HelperPrototype(.perCpuPtr, returns: .readOnlyMemoryOrBTFIDOrNull, .percpuBTFID, .anything),
    HelperPrototype(.thisCpuPtr, returns: .readOnlyMemoryOrBTFID, .percpuBTFID),
    HelperPrototype(.ktimeGetCoarseNs, returns: .integer),
    HelperPrototype(.forEachMapElem, returns: .integer, .constMapPointer, .function, .stackOrNull, .anything),
    HelperPrototype(
      .snprintf, returns: .integer, .writtenMemoryOrNull, .constSizeOrZero, .constString, .readOnlyMemoryOrNull,
      .constSizeOrZero
    ).gpl,
    HelperPrototype(.sysBpf, returns: .integer, .anything, .readOnlyMemory, .constSize),
    HelperPrototype(.btfFindByNameKind, returns: .integer, .readOnlyMemory, .constSize, .anything, .anything),
    HelperPrototype(.sysClose, returns: .integer, .anything),
    HelperPrototype(.timerInit, returns: .integer, .timer, .constMapPointer, .anything).gpl,
    HelperPrototype(.timerSetCallback, returns: .integer, .timer, .function).gpl,
    HelperPrototype(.timerStart, returns: .integer, .timer, .anything, .anything).gpl,
    HelperPrototype(.timerCancel, returns: .integer, .timer).gpl,
    HelperPrototype(
      .kallsymsLookupName, returns: .integer, .readOnlyMemory, .constSizeOrZero, .anything, .uninitializedResult
    ).sized(4, 8),
    HelperPrototype(.loop, returns: .integer, .anything, .function, .stackOrNull, .anything),
    HelperPrototype(.strncmp, returns: .integer, .readOnlyMemory, .constSize, .constString),
    HelperPrototype(
      .copyFromUserTask, returns: .integer, .uninitializedMemory, .constSizeOrZero, .anything, .btfID, .anything
    ).gpl.sleeping.naming(4, "task_struct"),
    HelperPrototype(.kptrXchg, returns: .btfIDOrNull, .kptrExchangeDestination, .releasedBTFIDOrNull),
    HelperPrototype(.mapLookupPercpuElem, returns: .mapValueOrNull, .constMapPointer, .mapKey, .anything).packet,
    HelperPrototype(
      .dynptrFromMem, returns: .integer, .uninitializedMemory, .constSizeOrZero, .anything, .newLocalDynptr
    ),
    HelperPrototype(
      .ringbufReserveDynptr, returns: .integer, .constMapPointer, .anything, .anything, .newRingbufDynptr
    ),
    HelperPrototype(.ringbufSubmitDynptr, returns: .void, .releasedRingbufDynptr, .anything),
    HelperPrototype(.ringbufDiscardDynptr, returns: .void, .releasedRingbufDynptr, .anything),
    HelperPrototype(
      .dynptrRead, returns: .integer, .uninitializedMemory, .constSizeOrZero, .readOnlyDynptr, .anything, .anything
    ),
    HelperPrototype(
      .dynptrWrite, returns: .integer, .readOnlyDynptr, .anything, .readOnlyMemory, .constSizeOrZero, .anything
    ),
    HelperPrototype(.dynptrData, returns: .dynptrMemoryOrNull, .readOnlyDynptr, .anything, .constAllocSizeOrZero),
    HelperPrototype(.ktimeGetTaiNs, returns: .integer),
    HelperPrototype(.userRingbufDrain, returns: .integer, .constMapPointer, .function, .stackOrNull, .anything),
  ]

  /// Where the call is a real one, which clobbers the caller-saved registers.
  static let processorIDByCall = HelperPrototype(.getSmpProcessorId, returns: .integer)
}
