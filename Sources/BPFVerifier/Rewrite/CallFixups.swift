import BPFISA
import BPFLinux

/// How memory is allocated where a program may not sleep, and where it may (`GFP_ATOMIC`, `GFP_KERNEL`).
private let atomicAllocation: Int32 = 0x820
private let sleepingAllocation: Int32 = 0xcc0

// Calls of kernel functions and helpers: arguments that the kernel adds, and what is done in place of a call.

extension Rewriter {
  // MARK: kernel functions

  func fixUpKfunc(_ index: Int, _ insn: Instruction) throws(Refusal) -> Int {
    guard insn.immediate != 0 else {
      throw verification.refuse(
        .EINVAL, .kfuncNotAllowed, "invalid kernel function call not eliminated in verifier pass\n")
    }
    var call = insn
    let name = verification.kfuncName(for: insn)
    call.immediate = 0
    slots[index].instruction = call
    slots[index].reference = reference(.function(specialized(name)))
    let named = RewrittenProgram.Reference.function(specialized(name))
    guard insn.offset == 0, let fact = facts(index) else { return 0 }
    let meta: RewrittenProgram.Reference = .address(fact.pointee.recordType == 0 ? "" : "struct_meta")
    let special = verification.specialKfunc(insn)
    switch special {
    case .objectNew, .perCPUObjectNew:
      return try replace(
        index,
        [.alu64(ALU.mov, 1, Int32(truncatingIfNeeded: fact.pointee.objectSize)), .loadAddress(2), .secondSlot, call],
        references: [1: meta, 3: named])
    case .objectDrop, .perCPUObjectDrop, .refcountAcquire:
      return try replace(index, [.loadAddress(2), .secondSlot, call], references: [0: meta, 2: named])
    case .listPushBack, .listPushFront, .rbtreeAdd:
      let register = special == .rbtreeAdd ? 4 : 3
      let place = Int32(truncatingIfNeeded: fact.pointee.objectSize)
      return try replace(
        index, [.loadAddress(register), .secondSlot, .alu64(ALU.mov, register + 1, place), call],
        references: [0: meta, 3: named])
    case .castToKernelContext, .readOnlyCast:
      slots[index].reference = -1
      return try replace(index, [.alu64(ALU.mov, 0, register: 1)])
    default:
      guard fact.pointee.argumentProgram != 0 else { return 0 }
      return try replace(
        index, [.loadAddress(Int(fact.pointee.argumentProgram)), .secondSlot, call],
        references: [0: .address("prog_aux"), 2: named])
    }
  }

  /// The function that is called in place of `name` where the program may not write to packets.
  private func specialized(_ name: String) -> String {
    guard name == "bpf_dynptr_from_skb",
      !ProgramRules.mayAccessPacket(verification.programType, .write, helperTakesPackets: nil).allowed
    else { return name }
    return name + "_rdonly"
  }

  // MARK: helpers

  func fixUpHelper(_ index: Int, _ insn: Instruction) throws(Refusal) -> Int {
    let helper = HelperID(rawValue: insn.immediate)
    let isTracing = verification.programType == .tracing
    switch helper {
    case .tailCall:
      return try fixUpTailCall(index, insn)
    case .timerSetCallback:
      return try prepend(index, [.loadAddress(3), .secondSlot], [0: .address("prog_aux")])
    case .skStorageGet, .inodeStorageGet, .taskStorageGet, .cgrpStorageGet:
      let atomic = facts(index)?.pointee.storageGetAtomic ?? false
      return try prepend(index, [.alu64(ALU.mov, 5, atomic ? atomicAllocation : sleepingAllocation)])
    case .perCpuPtr where callsWithPerCPUPointer(index), .thisCpuPtr where callsWithPerCPUPointer(index):
      return try prepend(index, [.load(Size.dw, 1, 1, 0)])
    case .mapLookupElem, .mapUpdateElem, .mapDeleteElem, .mapPushElem, .mapPopElem, .mapPeekElem, .redirectMap,
      .forEachMapElem, .mapLookupPercpuElem:
      return try callMapOperation(index, helper)
    case .jiffies64:
      return try replace(
        index, [.loadAddress(0), .secondSlot, .load(Size.dw, 0, 0, 0)], references: [0: .address("jiffies")])
    case .getSmpProcessorId where verification.linux.architecture == .x86_64:
      return try replace(
        index, [.alu64(ALU.mov, 0, 0), .percpuAddress(0, 0), .load(Size.w, 0, 0, 0)],
        references: [0: .address("cpu_number")])
    case .getFuncArg where isTracing:
      return try replace(
        index,
        [
          .load(Size.dw, 0, 1, -8), .jump32(Jump.jge, 2, register: 0, to: 6), .alu64(ALU.lsh, 2, 3),
          .alu64(ALU.add, 2, register: 1), .load(Size.dw, 0, 2, 0), .store(Size.dw, 3, 0, register: 0),
          .alu64(ALU.mov, 0, 0), .jump(to: 1), .alu64(ALU.mov, 0, -Errno.EINVAL.rawValue),
        ])
    case .getFuncRet where isTracing:
      let attach = verification.program.expectedAttachType
      guard attach == .traceFexit || attach == .modifyReturn else {
        return try replace(index, [.alu64(ALU.mov, 0, -Errno.EOPNOTSUPP.rawValue)])
      }
      return try replace(
        index,
        [
          .load(Size.dw, 0, 1, -8), .alu64(ALU.lsh, 0, 3), .alu64(ALU.add, 0, register: 1), .load(Size.dw, 3, 0, 0),
          .store(Size.dw, 2, 0, register: 3), .alu64(ALU.mov, 0, 0),
        ])
    case .getFuncArgCnt where isTracing:
      return try replace(index, [.load(Size.dw, 0, 1, -8)])
    case .getFuncIp where isTracing:
      return try replace(index, [.load(Size.dw, 0, 1, -16)])
    case .getBranchSnapshot:
      return try replace(
        index,
        [
          .jump(Jump.jne, 3, 0, to: 7), .alu32(ALU.mov, 0, Int32(bitPattern: 0xaaaa_aaab)),
          .alu64(ALU.mul, 2, register: 0), .alu64(ALU.rsh, 2, 36), .callAddress, .jump(Jump.jeq, 0, 0, to: 4),
          .alu32(ALU.mul, 0, 24), .jump(to: 3), .alu64(ALU.mov, 0, -Errno.EINVAL.rawValue), .jump(to: 1),
          .alu64(ALU.mov, 0, -Errno.ENOENT.rawValue),
        ], references: [4: .function("perf_snapshot_branch_stack")])
    case .kptrXchg:
      return try replace(index, [.alu64(ALU.mov, 0, register: 2), .exchange(1, 0)])
    default:
      slots[index].reference = reference(helperReference(helper))
      return 0
    }
  }

  func helperReference(_ helper: HelperID) -> RewrittenProgram.Reference {
    .helper(
      helper, function: HelperFunctions.name(helper, in: verification.program, as: verification.programType))
  }

  private func callsWithPerCPUPointer(_ index: Int) -> Bool { facts(index)?.pointee.callWithPercpuPointer ?? false }

  /// Puts instructions before a helper's call.
  private func prepend(
    _ index: Int, _ code: [Instruction], _ named: [Int: RewrittenProgram.Reference] = [:]
  ) throws(Refusal) -> Int {
    let call = slots[index].instruction
    var named = named
    named[code.count] = helperReference(HelperID(rawValue: call.immediate))
    return try replace(index, code + [call], references: named)
  }

  /// Where the map was made by who may not ignore speculation, the index is masked to lie within it.
  private func fixUpTailCall(_ index: Int, _ insn: Instruction) throws(Refusal) -> Int {
    guard let fact = facts(index), fact.pointee.mapPointerUnprivileged else { return 0 }
    guard fact.pointee.mapPointer != .poisoned else {
      throw verification.refuse(.EINVAL, .tailCall, "tail_call abusing map_ptr\n")
    }
    let entries = verification.maps[Int(fact.pointee.mapIndex)].definition.maxEntries
    return try replace(
      index,
      [
        .jump(Jump.jge, 3, Int32(bitPattern: entries), to: 2), .alu32(ALU.and, 3, MapLookup.indexMask(entries)), insn,
      ])
  }
}
