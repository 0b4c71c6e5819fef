import BPFLinux

// Which helpers take which maps: what the map allows, and what the helper does.

extension Verification {
  /// Checks the map that a helper was called with.
  func checkMapCompatibility(_ map: Int, _ helper: HelperID) throws(Refusal) {
    let type = maps[map].definition.type
    guard allows(type, helper), accepts(helper, type) else {
      throw refuse(
        .EINVAL, .mapUse,
        "cannot pass map_type \(type.rawValue) into func \(helperName(helper))#\(helper.rawValue)\n")
    }
  }

  /// The name that the log uses.
  func helperName(_ helper: HelperID) -> String { helper.name ?? "unknown" }

  private func allows(_ type: MapType, _ helper: HelperID) -> Bool {
    switch type {
    case .progArray:
      return helper == .tailCall
    case .perfEventArray:
      switch helper {
      case .perfEventRead, .perfEventOutput, .skbOutput, .perfEventReadValue, .xdpOutput: return true
      default: return false
      }
    case .ringbuf:
      switch helper {
      case .ringbufOutput, .ringbufReserve, .ringbufQuery, .ringbufReserveDynptr, .ringbufSubmitDynptr,
        .ringbufDiscardDynptr:
        return true
      default: return false
      }
    case .userRingbuf:
      return helper == .userRingbufDrain
    case .stackTrace:
      return helper == .getStackid
    case .cgroupArray:
      return helper == .skbUnderCgroup || helper == .currentTaskUnderCgroup
    case .cgroupStorage, .percpuCgroupStorage:
      return helper == .getLocalStorage
    case .devmap, .devmapHash, .xskmap:
      return helper == .redirectMap || helper == .mapLookupElem
    case .cpumap:
      return helper == .redirectMap
    case .arrayOfMaps, .hashOfMaps:
      return helper == .mapLookupElem
    case .sockmap:
      switch helper {
      case .skRedirectMap, .sockMapUpdate, .msgRedirectMap, .skSelectReuseport, .mapLookupElem: return true
      default: return mayUpdateSockmap(helper)
      }
    case .sockhash:
      switch helper {
      case .skRedirectHash, .sockHashUpdate, .msgRedirectHash, .skSelectReuseport, .mapLookupElem: return true
      default: return mayUpdateSockmap(helper)
      }
    case .reuseportSockarray:
      return helper == .skSelectReuseport
    case .queue, .stack:
      return helper == .mapPeekElem || helper == .mapPopElem || helper == .mapPushElem
    case .skStorage:
      return helper == .skStorageGet || helper == .skStorageDelete || helper == .kptrXchg
    case .inodeStorage:
      return helper == .inodeStorageGet || helper == .inodeStorageDelete || helper == .kptrXchg
    case .taskStorage:
      return helper == .taskStorageGet || helper == .taskStorageDelete || helper == .kptrXchg
    case .cgrpStorage:
      return helper == .cgrpStorageGet || helper == .cgrpStorageDelete || helper == .kptrXchg
    case .bloomFilter:
      return helper == .mapPeekElem || helper == .mapPushElem
    default:
      return true
    }
  }

  /// Sockets may be put into a map only where none can be locked.
  private func mayUpdateSockmap(_ helper: HelperID) -> Bool {
    guard helper == .mapUpdateElem || helper == .mapDeleteElem else { return false }
    switch programType {
    case .tracing:
      if expectedAttachType == .traceIter { return true }
    case .sockOps:
      // Updates go through helpers of their own, which look at the event.
      if helper == .mapDeleteElem { return true }
    case .socketFilter, .schedCls, .schedAct, .xdp, .skReuseport, .flowDissector, .skLookup:
      return true
    default:
      break
    }
    print("cannot update sockmap in this context\n")
    return false
  }

  private func accepts(_ helper: HelperID, _ type: MapType) -> Bool {
    switch helper {
    case .tailCall:
      return type == .progArray
    case .perfEventRead, .perfEventOutput, .perfEventReadValue, .skbOutput, .xdpOutput:
      return type == .perfEventArray
    case .ringbufOutput, .ringbufReserve, .ringbufQuery, .ringbufReserveDynptr, .ringbufSubmitDynptr,
      .ringbufDiscardDynptr:
      return type == .ringbuf
    case .userRingbufDrain:
      return type == .userRingbuf
    case .getStackid:
      return type == .stackTrace
    case .currentTaskUnderCgroup, .skbUnderCgroup:
      return type == .cgroupArray
    case .redirectMap:
      return type == .devmap || type == .devmapHash || type == .cpumap || type == .xskmap
    case .skRedirectMap, .msgRedirectMap, .sockMapUpdate:
      return type == .sockmap
    case .skRedirectHash, .msgRedirectHash, .sockHashUpdate:
      return type == .sockhash
    case .getLocalStorage:
      return type == .cgroupStorage || type == .percpuCgroupStorage
    case .skSelectReuseport:
      return type == .reuseportSockarray || type == .sockmap || type == .sockhash
    case .mapPopElem:
      return type == .queue || type == .stack
    case .mapPeekElem, .mapPushElem:
      return type == .queue || type == .stack || type == .bloomFilter
    case .mapLookupPercpuElem:
      return type == .percpuArray || type == .percpuHash || type == .lruPercpuHash
    case .skStorageGet, .skStorageDelete:
      return type == .skStorage
    case .inodeStorageGet, .inodeStorageDelete:
      return type == .inodeStorage
    case .taskStorageGet, .taskStorageDelete:
      return type == .taskStorage
    case .cgrpStorageGet, .cgrpStorageDelete:
      return type == .cgrpStorage
    default:
      return true
    }
  }
}
