extension HelperPrototype {
  /// Reading the kernel and user space, stacks, perf events, output to tracers and iterators. By number.
  static let tracing: [HelperPrototype] = [
    HelperPrototype(.probeRead, returns: .integer, .uninitializedMemory, .constSizeOrZero, .anything).gpl,
    HelperPrototype(.tracePrintk, returns: .integer, .readOnlyMemory, .constSize).gpl,
    HelperPrototype(.perfEventRead, returns: .integer, .constMapPointer, .anything).gpl,
    HelperPrototype(.getStackid, returns: .integer, .context, .constMapPointer, .anything).gpl,
    HelperPrototype(.getCurrentTask, returns: .integer).gpl,
    HelperPrototype(.probeWriteUser, returns: .integer, .anything, .readOnlyMemory, .constSize).gpl,
    HelperPrototype(.probeReadStr, returns: .integer, .uninitializedMemory, .constSizeOrZero, .anything).gpl,
    HelperPrototype(
      .perfEventReadValue, returns: .integer, .constMapPointer, .anything, .uninitializedMemory, .constSize
    ).gpl,
    HelperPrototype(.perfProgReadValue, returns: .integer, .context, .uninitializedMemory, .constSize).gpl,
    HelperPrototype(.overrideReturn, returns: .integer, .context, .anything).gpl,
    HelperPrototype(.getStack, returns: .integer, .context, .uninitializedMemory, .constSizeOrZero, .anything).gpl,
    HelperPrototype(.sendSignal, returns: .integer, .anything),
    HelperPrototype(.probeReadUser, returns: .integer, .uninitializedMemory, .constSizeOrZero, .anything).gpl,
    HelperPrototype(.probeReadKernel, returns: .integer, .uninitializedMemory, .constSizeOrZero, .anything).gpl,
    HelperPrototype(.probeReadUserStr, returns: .integer, .uninitializedMemory, .constSizeOrZero, .anything).gpl,
    HelperPrototype(.probeReadKernelStr, returns: .integer, .uninitializedMemory, .constSizeOrZero, .anything).gpl,
    HelperPrototype(.sendSignalThread, returns: .integer, .anything),
    HelperPrototype(.readBranchRecords, returns: .integer, .context, .writtenMemoryOrNull, .constSizeOrZero, .anything)
      .gpl,
    HelperPrototype(
      .seqPrintf, returns: .integer, .btfID, .readOnlyMemory, .constSize, .readOnlyMemoryOrNull, .constSizeOrZero
    ).gpl.naming(1, "seq_file"),
    HelperPrototype(.seqWrite, returns: .integer, .btfID, .readOnlyMemory, .constSizeOrZero).gpl.naming(1, "seq_file"),
    HelperPrototype(.getTaskStack, returns: .integer, .btfID, .uninitializedMemory, .constSizeOrZero, .anything)
      .naming(1, "task_struct"),
    HelperPrototype(.dPath, returns: .integer, .btfID, .writtenMemory, .constSizeOrZero)
      .naming(1, "path").restricted(to: .pathFunctions),
    HelperPrototype(
      .snprintfBtf, returns: .integer, .writtenMemory, .constSize, .readOnlyMemory, .constSize, .anything
    ),
    HelperPrototype(.seqPrintfBtf, returns: .integer, .btfID, .readOnlyMemory, .constSizeOrZero, .anything)
      .gpl.naming(1, "seq_file"),
    HelperPrototype(.getCurrentTaskBtf, returns: .btfIDTrusted).gpl.returning("task_struct"),
    HelperPrototype(.getFuncIp, returns: .integer, .context).gpl,
    HelperPrototype(.taskPtRegs, returns: .btfID, .btfID).gpl.naming(1, "task_struct").returning("pt_regs"),
    HelperPrototype(.getBranchSnapshot, returns: .integer, .uninitializedMemory, .constSizeOrZero).gpl,
    HelperPrototype(
      .traceVprintk, returns: .integer, .readOnlyMemory, .constSize, .readOnlyMemoryOrNull, .constSizeOrZero
    ).gpl,
    HelperPrototype(.findVma, returns: .integer, .btfID, .anything, .function, .stackOrNull, .anything)
      .naming(1, "task_struct"),
    HelperPrototype(.getFuncArg, returns: .integer, .context, .anything, .uninitializedResult).sized(3, 8),
    HelperPrototype(.getFuncRet, returns: .integer, .context, .uninitializedResult).sized(2, 8),
    HelperPrototype(.getFuncArgCnt, returns: .integer, .context),
  ]

  // As other program types have them.

  static let perfEventStackID = HelperPrototype(.getStackid, returns: .integer, .context, .constMapPointer, .anything)
  static let multiFunctionIP = HelperPrototype(.getFuncIp, returns: .integer, .context)
}
