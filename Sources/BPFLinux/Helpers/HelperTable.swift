/// Which helpers a program may call, and as what.
public enum HelperTable {
  /// The prototype that calls of this helper are checked against; nil where programs of this kind have no such
  /// helper. `HelperPrototype.restriction` is for the caller to ask, after the license.
  public static func prototype(_ id: HelperID, for program: ProgramTraits) -> HelperPrototype? {
    reference(id, for: program)?.pointee
  }

  /// The same prototype in place, for who asks at every call. It lives as long as the process.
  public static func reference(_ id: HelperID, for program: ProgramTraits) -> UnsafePointer<HelperPrototype>? {
    guard program.helpers.contains(id) else { return nil }
    return variant(of: id, for: program) ?? standard + Int(id.rawValue)
  }

  /// Whether the helper may move packet data, so that pointers into the packet go stale.
  public static func changesPacketData(_ id: HelperID) -> Bool { packetChanging.contains(id) }

  /// A tail call is among them: the program called into may call any of the others.
  private static let packetChanging: HelperIDSet = [
    .cloneRedirect, .l3CsumReplace, .l4CsumReplace, .lwtPushEncap, .lwtSeg6Action, .lwtSeg6AdjustSrh,
    .lwtSeg6StoreBytes, .msgPopData, .msgPullData, .msgPushData, .skbAdjustRoom, .skbChangeHead, .skbChangeProto,
    .skbChangeTail, .skbPullData, .skbStoreBytes, .skbVlanPop, .skbVlanPush, .storeHdrOpt, .tailCall,
    .xdpAdjustHead, .xdpAdjustMeta, .xdpAdjustTail,
  ]

  /// By helper number.
  nonisolated(unsafe) private static let standard: UnsafePointer<HelperPrototype> = {
    let table = UnsafeMutablePointer<HelperPrototype>.allocate(capacity: Int(HelperID.end))
    table.initialize(repeating: HelperPrototype(.unspec, returns: .integer), count: Int(HelperID.end))
    for group in [HelperPrototype.core, HelperPrototype.tracing, HelperPrototype.socket, HelperPrototype.packet] {
      for prototype in group { table[Int(prototype.id.rawValue)] = prototype }
    }
    return UnsafePointer(table)
  }()

  /// Prototypes that some program types have in place of the standard ones.
  private struct Variants {
    let processorIDByCall = Self.keep(.processorIDByCall)
    let multiFunctionIP = Self.keep(.multiFunctionIP)
    let perfEventStackID = Self.keep(.perfEventStackID)
    let currentCgroupClassID = Self.keep(.currentCgroupClassID)
    let lookupAssign = Self.keep(.lookupAssign)
    let contextSetSockopt = Self.keep(.contextSetSockopt)
    let contextGetSockopt = Self.keep(.contextGetSockopt)
    let socketAddressLookupTCP = Self.keep(.socketAddressLookupTCP)
    let socketAddressLookupUDP = Self.keep(.socketAddressLookupUDP)
    let socketAddressLookupCommonTCP = Self.keep(.socketAddressLookupCommonTCP)
    let contextSocketStorageGet = Self.keep(.contextSocketStorageGet)
    let tracingSocketStorageGet = Self.keep(.tracingSocketStorageGet)
    let tracingSocketStorageDelete = Self.keep(.tracingSocketStorageDelete)
    let socketPointerCookie = Self.keep(.socketPointerCookie)
    let tracedBufferLength = Self.keep(.tracedBufferLength)

    private static func keep(_ prototype: HelperPrototype) -> UnsafePointer<HelperPrototype> {
      let place = UnsafeMutablePointer<HelperPrototype>.allocate(capacity: 1)
      place.initialize(to: prototype)
      return UnsafePointer(place)
    }
  }

  nonisolated(unsafe) private static let variants = Variants()

  /// Helpers that take or promise something else in some program types.
  private static func variant(of id: HelperID, for program: ProgramTraits) -> UnsafePointer<HelperPrototype>? {
    let type = program.type
    switch id {
    case .getSmpProcessorId: return inlinesProcessorID(type) ? nil : variants.processorIDByCall
    case .getFuncIp:
      return type == .kprobe && (program.isKprobeMulti || program.isUprobeMulti) ? variants.multiFunctionIP : nil
    case .getStackid: return type == .perfEvent ? variants.perfEventStackID : nil
    case .getCgroupClassid: return isSKBPath(type) ? nil : variants.currentCgroupClassID
    case .skAssign: return type == .skLookup ? variants.lookupAssign : nil
    case .setsockopt: return type == .sockOps || type == .cgroupSockAddr ? variants.contextSetSockopt : nil
    case .getsockopt: return type == .sockOps || type == .cgroupSockAddr ? variants.contextGetSockopt : nil
    case .skLookupTcp: return type == .cgroupSockAddr ? variants.socketAddressLookupTCP : nil
    case .skLookupUdp: return type == .cgroupSockAddr ? variants.socketAddressLookupUDP : nil
    case .skcLookupTcp: return type == .cgroupSockAddr ? variants.socketAddressLookupCommonTCP : nil
    case .skStorageGet:
      if type == .cgroupSock { return variants.contextSocketStorageGet }
      return type == .tracing || type == .syscall ? variants.tracingSocketStorageGet : nil
    case .skStorageDelete: return type == .tracing || type == .syscall ? variants.tracingSocketStorageDelete : nil
    case .getSocketCookie:
      return type == .tracing || type == .syscall || type == .lsm || type == .skReuseport
        ? variants.socketPointerCookie : nil
    case .xdpGetBuffLen: return type == .xdp ? nil : variants.tracedBufferLength
    default: return nil
    }
  }

  /// Program types whose `bpf_get_smp_processor_id` keeps to the fastcall contract.
  private static func inlinesProcessorID(_ type: ProgramType) -> Bool {
    switch type {
    case .kprobe, .tracepoint, .perfEvent, .rawTracepoint, .rawTracepointWritable, .tracing, .lsm, .syscall,
      .schedCls, .schedAct, .xdp, .lwtIn, .lwtOut, .lwtXmit, .lwtSeg6local:
      true
    default: false
    }
  }

  /// Program types that meet a packet on its way, where "the cgroup" is that of the packet's socket.
  private static func isSKBPath(_ type: ProgramType) -> Bool {
    switch type {
    case .schedCls, .schedAct, .lwtIn, .lwtOut, .lwtXmit, .lwtSeg6local: true
    default: false
    }
  }
}

// How the prototype tables are written.
extension HelperPrototype {
  var gpl: HelperPrototype { with { $0.gplOnly = true } }
  var packet: HelperPrototype { with { $0.packetAccess = true } }
  var sleeping: HelperPrototype { with { $0.mightSleep = true } }
  var fast: HelperPrototype { with { $0.fastcall = true } }

  /// Argument `number`, counted from 1, is a kernel struct of that name.
  func naming(_ number: Int, _ type: StaticString) -> HelperPrototype {
    with { $0.argumentTypeNames[number - 1] = type }
  }

  /// Argument `number`, counted from 1, is memory of that many bytes.
  func sized(_ number: Int, _ bytes: UInt32) -> HelperPrototype { with { $0.argumentSizes[number - 1] = bytes } }

  func returning(_ type: StaticString) -> HelperPrototype { with { $0.returnTypeName = type } }

  func restricted(to restriction: HelperRestriction) -> HelperPrototype { with { $0.restriction = restriction } }

  private func with(_ change: (inout HelperPrototype) -> Void) -> HelperPrototype {
    var copy = self
    change(&copy)
    return copy
  }
}

extension ArgumentType {
  static let readOnlyMemory = memory | .readOnly
  static let readOnlyMemoryOrNull = memory | [.mayBeNull, .readOnly]
  static let writtenMemory = memory | .write
  static let writtenMemoryOrNull = memory | [.mayBeNull, .write]
  static let readOnlyFixedSizeMemory = fixedSizeMemory | .readOnly
  static let uninitializedResult = fixedSizeMemory | [.uninitialized, .write, .aligned]
  static let updatedResult = fixedSizeMemory | [.write, .aligned]
  static let uninitializedMapValue = mapValue | [.uninitialized, .write]
  static let readOnlyDynptr = dynptr | .readOnly
  static let newLocalDynptr = dynptr | [.dynptrLocal, .uninitialized, .write]
  static let newRingbufDynptr = dynptr | [.dynptrRingbuf, .uninitialized, .write]
  static let releasedRingbufDynptr = dynptr | [.dynptrRingbuf, .release]
  static let releasedRingbufMemory = ringbufMemory | .release
  static let releasedBTFIDOrNull = btfID | [.mayBeNull, .release]
  static let releasedSock = btfIDSockCommon | .release
  static let btfIDSockCommonOrNull = btfIDSockCommon | .mayBeNull
}

extension ReturnType {
  static let readOnlyMemoryOrBTFID = memoryOrBTFID | .readOnly
  static let readOnlyMemoryOrBTFIDOrNull = memoryOrBTFID | [.mayBeNull, .readOnly]
}
