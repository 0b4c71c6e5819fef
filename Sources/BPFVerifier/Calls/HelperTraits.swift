import BPFLinux

// What single helpers do besides what their prototype says.

extension HelperID {
  /// Returns the argument as another type of pointer: the result lives as long as the argument's reference.
  var castsPointer: Bool {
    switch self {
    case .tcpSock, .skFullsock, .skcToTcpSock, .skcToTcp6Sock, .skcToUdp6Sock, .skcToMptcpSock,
      .skcToTcpTimewaitSock, .skcToTcpRequestSock:
      true
    default: false
    }
  }

  /// Returns a slice of its dynptr.
  var slicesDynptr: Bool { self == .dynptrData }

  /// Makes local storage where there is none, which sleeps where that is allowed.
  var getsStorage: Bool {
    switch self {
    case .skStorageGet, .inodeStorageGet, .taskStorageGet, .cgrpStorageGet: true
    default: false
    }
  }

  /// Returns something that must be given back. `map` is the type of the map argument, if there is one.
  func acquires(from map: MapType?) -> Bool {
    switch self {
    case .skLookupTcp, .skLookupUdp, .skcLookupTcp, .ringbufReserve, .kptrXchg: true
    case .mapLookupElem: map == .sockmap || map == .sockhash
    default: false
    }
  }

  /// Which map it is called with is noted, and whether that is the same one every time.
  var recordsMap: Bool {
    switch self {
    case .tailCall, .mapLookupElem, .mapUpdateElem, .mapDeleteElem, .mapPushElem, .mapPopElem, .mapPeekElem,
      .forEachMapElem, .redirectMap, .mapLookupPercpuElem:
      true
    default: false
    }
  }

  /// Changes the map it is called with.
  var writesMap: Bool {
    switch self {
    case .mapDeleteElem, .mapUpdateElem, .mapPushElem, .mapPopElem: true
    default: false
    }
  }
}

/// `InstructionFacts.mapKeyState`: the constant key of tail calls, and what is known of it.
enum MapKeyFact {
  static let poisoned: UInt64 = 1 << 63
  static let seen: UInt64 = 1 << 62
}
